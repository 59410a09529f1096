// What the dispatcher of the decoders and their kernels of all instruction sets share.
#ifndef HEATPOINT_DECODERS_CALL_HPP
#define HEATPOINT_DECODERS_CALL_HPP

#include <cstdint>

#include "heatpoint_native.h"

namespace heatpoint {

// Functions in here are compiled once per instruction set; without a name of their own the linker could take the wrong one.
namespace {

constexpr int64_t MOST_KEPT = 64;    // beyond it, all cells of a map are sorted
constexpr int64_t STRETCH = 16;      // vectors of which one maximum is taken, for the largest cell alone
constexpr int64_t MOST_GROUPED = 8;  // vectors whose maximum is taken lane by lane, for several cells
constexpr int64_t LEAST_CHUNKS = 32;  // of a map, which shorter groups are for
constexpr int64_t WIDEST = 16;       // lanes of a vector at most
constexpr int64_t EXACT = (int64_t)1 << 53;  // cells of a map whose numbers a double holds

inline int64_t vectors_of_chunk(int64_t num_vectors) {
    const int64_t count = num_vectors / LEAST_CHUNKS;
    return count < 1 ? 1 : count > MOST_GROUPED ? MOST_GROUPED : count;
}

}  // namespace

// The `count` largest of all cells of a map, by a sort: for maps with NaN and for large counts.
template <typename T>
void sort_cells(const T *map, int64_t num_cells, int64_t count, T *values, int64_t *index);

// One kernel per instruction set, over the maps from `first` to before `last`.
typedef void (*LargestWorker)(const hp_largest &, int64_t first, int64_t last, float *room);
typedef void (*SoftmaxWorker)(const hp_softmax &, int64_t first, int64_t last);

void largest_portable(const hp_largest &, int64_t, int64_t, float *);
void largest_avx2(const hp_largest &, int64_t, int64_t, float *);
void largest_avx512(const hp_largest &, int64_t, int64_t, float *);
void softmax_portable(const hp_softmax &, int64_t, int64_t);
void softmax_avx2(const hp_softmax &, int64_t, int64_t);
void softmax_avx512(const hp_softmax &, int64_t, int64_t);

}  // namespace heatpoint
#endif
