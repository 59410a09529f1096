// The C interface of the decoders: checks a call, picks the instruction set, shares the maps among threads.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "decoders_call.hpp"
#include "threads.hpp"

namespace heatpoint {

template <typename T>
void sort_cells(const T *map, int64_t num_cells, int64_t count, T *values, int64_t *index) {
    std::vector<int64_t> cells((size_t)num_cells);
    for (int64_t i = 0; i < num_cells; ++i) cells[(size_t)i] = i;
    std::partial_sort(cells.begin(), cells.begin() + count, cells.end(), [map](int64_t a, int64_t b) {
        const bool is_nan = map[a] != map[a], other_is_nan = map[b] != map[b];
        if (is_nan || other_is_nan) return is_nan && other_is_nan ? a < b : is_nan;
        return map[a] > map[b] || (map[a] == map[b] && a < b);
    });
    for (int64_t i = 0; i < count; ++i) {
        index[i] = cells[(size_t)i];
        values[i] = map[index[i]];
    }
}

template void sort_cells(const float *, int64_t, int64_t, float *, int64_t *);
template void sort_cells(const double *, int64_t, int64_t, double *, int64_t *);

namespace {

// Numbers whose work is worth the start of a thread.
constexpr double LEAST_COMPARED = 1 << 18, LEAST_WEIGHED = 1 << 16;
// The reciprocal of the coldest temperature, COLDEST of _library.py; it must be a float32.
constexpr double STEEPEST = 1e30;

template <typename Worker>
Worker choice(int32_t asked, Worker portable, Worker avx2, Worker avx512) {
    const int32_t best = hp_best_isa(), isa = asked == HP_ISA_AUTO ? best : asked;
    if (isa > best) return nullptr;
    return isa == HP_ISA_AVX512 ? avx512 : isa == HP_ISA_AVX2 ? avx2 : isa == HP_ISA_PORTABLE ? portable : nullptr;
}

#if defined(HP_X86)
#define HP_WORKERS(name) name##_portable, name##_avx2, name##_avx512
#else
#define HP_WORKERS(name) name##_portable, name##_portable, name##_portable
#endif

// Calls work(first, last) for parts of the maps, some ten thousand numbers each, on so many threads.
template <typename Work>
void by_parts(int64_t num_maps, int64_t num_cells, int64_t threads, const Work &work) {
    const int64_t part = std::max<int64_t>(1, 32768 / num_cells);
    std::atomic<int64_t> next{0};
    on_threads(threads, [&] {
        for (;;) {
            const int64_t first = next.fetch_add(part, std::memory_order_relaxed);
            if (first >= num_maps) return;
            work(first, std::min(first + part, num_maps));
        }
    });
}

bool is_grid(const hp_largest &c) {
    int64_t cells = 1;
    for (int a = 0; a < c.ndim && a < 3; ++a) {
        if (c.lengths[a] < 1 || cells > EXACT / c.lengths[a]) return false;
        cells *= c.lengths[a];
    }
    return c.ndim >= 1 && c.ndim <= 3 && cells == c.num_cells;
}

bool is_sound(const hp_softmax &c) {
    if (!c.logits || !c.stats || c.num_maps < 0 || c.num_rows < 1 || c.row_length < 1) return false;
    if (c.ndim < 0 || c.ndim > 3 || c.num_columns < 0 || c.num_columns > c.ndim) return false;
    if ((c.num_columns && !c.columns) || (c.num_columns < c.ndim && !c.row_places)) return false;
    if (c.gradient && c.ndim && !c.slope) return false;
    return c.inverse_temperature > 0 && c.inverse_temperature <= STEEPEST;
}

}  // namespace
}  // namespace heatpoint

using namespace heatpoint;

extern "C" int64_t hp_largest_size(void) { return (int64_t)sizeof(hp_largest); }

extern "C" int64_t hp_softmax_size(void) { return (int64_t)sizeof(hp_softmax); }

extern "C" int32_t hp_largest_cells(hp_largest *call) {
    const hp_largest &c = *call;
    if (!c.maps || !c.values || !c.index || c.num_maps < 0) return HP_BAD_ARGUMENT;
    if (c.cells && (c.is_double || c.num_largest > MOST_KEPT || !is_grid(c))) return HP_BAD_ARGUMENT;
    if (c.num_largest < 1 || c.num_largest > c.num_cells) return HP_BAD_ARGUMENT;
    const LargestWorker work = choice<LargestWorker>(c.isa, HP_WORKERS(largest));
    if (!work) return HP_NO_ISA;
    const int64_t threads =
        useful_threads(c.num_threads, c.num_maps, (double)c.num_maps * (double)c.num_cells, LEAST_COMPARED);
    std::atomic<bool> is_short{false};
    by_parts(c.num_maps, c.num_cells, threads, [&](int64_t first, int64_t last) {
        // The maxima of the groups of a map, as floats or doubles.
        Floats room(c.num_largest > 1 ? 2 * (c.num_cells / MOST_GROUPED + 2 * (LEAST_CHUNKS + 1) * WIDEST) : 1);
        try {
            if (room.get()) return work(c, first, last, room.get());
        } catch (const std::bad_alloc &) {
        }
        is_short = true;
    });
    return is_short ? HP_NO_MEMORY : HP_OK;
}

extern "C" int32_t hp_softmax_mean(hp_softmax *call) {
    if (!is_sound(*call)) return HP_BAD_ARGUMENT;
    const SoftmaxWorker work = choice<SoftmaxWorker>(call->isa, HP_WORKERS(softmax));
    if (!work) return HP_NO_ISA;
    const int64_t cells = call->num_rows * call->row_length;
    const int64_t threads =
        useful_threads(call->num_threads, call->num_maps, (double)call->num_maps * (double)cells, LEAST_WEIGHED);
    by_parts(call->num_maps, cells, threads, [&](int64_t first, int64_t last) {
        const NoDenormals guard;
        work(*call, first, last);
    });
    return HP_OK;
}
