// What the dispatcher and the kernels of all instruction sets share.
#ifndef HEATPOINT_SAMPLING_CALL_HPP
#define HEATPOINT_SAMPLING_CALL_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "heatpoint_native.h"

#define HP_INLINE __attribute__((always_inline))
// Of loops that need all registers: within another function the compiler would keep some of that one's.
#define HP_APART __attribute__((noinline))

namespace heatpoint {

// Functions in here are compiled once per instruction set; without a name of their own the linker could take the wrong one.
namespace {

constexpr int64_t BLOCK = 64;       // cells that share sixteen counters of Philox
constexpr int WAITING = 4;          // samples that wait until their gradients are added in one pass, at most
constexpr int64_t KEPT = 1 << 17;   // floats that such samples may keep: half a megabyte
constexpr int64_t UNIT = 128;       // maps with one noise that a thread works on together, at most
constexpr int64_t TOGETHER = 4;     // of them whose sums are made in one pass, at most; a divisor of UNIT
constexpr int64_t WIDEST = 16;      // floats of the longest vectors
constexpr double COLDEST_ALLOWED = 1e-30;  // COLDEST of _library.py
constexpr double COLD = 0.25;       // below it powers of E overflow: the weights are made in the log domain

// A float with whose bits a whole number below 2²² may be added or subtracted as well as with itself: both give their sum exactly.
constexpr float MAGIC = 0x1.8p23f;
constexpr int64_t LONGEST_IN_BYTES = 1 << 14;  // positions of an axis, whose bytes are such numbers

// What is added to the bytes of a cell of a bounded basis.
constexpr int level_of(int basis) { return basis == HP_BASIS_UNIFORM ? -128 : 0; }

inline int64_t padded(int64_t cells) { return (cells + BLOCK - 1) / BLOCK * BLOCK; }

inline int64_t longest_axis(const hp_sampling &call) {
    int64_t longest = 1;
    for (int a = 0; a < 3; ++a) longest = call.lengths[a] > longest ? call.lengths[a] : longest;
    return longest;
}

// A thread's room is equally long rows of floats; the last is as long as the axes of the released formula need. Rows that
// started at equal addresses modulo 4096 would alias in the cache.
enum {
    ROW_BASE,
    ROW_GRADIENT,
    ROW_WEIGHTS,
    ROW_POSITIONS = ROW_WEIGHTS + WAITING,      // of the paper's sub-samples, or in bytes the words of two samples
    ROW_CENTERS = ROW_POSITIONS + 3 * WAITING,  // of the map's own cloud
    ROW_LATTICE = ROW_CENTERS + 3,              // words: base and step of each of three streams
    ROW_AXES = ROW_LATTICE + 6
};

struct Rows {
    float *start;
    int64_t length;
    static int64_t stride(int64_t length) { return length + 144; }
    float *row(int index) const { return start + index * stride(length); }
    static int64_t total(int64_t length, int64_t longest_axis) {
        return ROW_AXES * stride(length) + 20 * (padded(longest_axis) + 32);
    }
    // Of what maps with one noise keep beside it: base weights, and the last cells of a gradient.
    static int64_t of_units(int64_t length, int64_t maps) { return maps * (stride(length) + WIDEST); }
};

}  // namespace

// Coordinates (n, D) as padded rows, less their mean.
void fill_centers(const float *points, int64_t n, int D, int64_t row, float *x, float *y, float *z, double middle[3]);

struct Task {
    hp_sampling *call;
    // Of the cells, one padded row per axis: coordinates less `middle`, null where clouds differ. Or, in bytes, how many 256ths of a
    // cell lie between them and the middle, plus what the basis adds to a cell's bytes, plus MAGIC.
    const float *centers;
    bool is_in_bytes;
    double middle[3];
    int64_t row;  // cells of a padded row
    int64_t unit, units_per_group;  // how many maps with one noise a thread takes at a time, and how often; 0: each map alone
    std::atomic<int64_t> next, num_forbidden, num_undefined;
};

typedef void (*Worker)(Task &, float *room);

void worker_portable(Task &, float *);
void worker_avx2(Task &, float *);
void worker_avx512(Task &, float *);

}  // namespace heatpoint
#endif
