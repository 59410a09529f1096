// The C interface of heatpoint's native kernels: plain pointers and numbers, nothing of torch, so that one library serves all
// its versions. heatpoint/kernels/_library.py mirrors the structure below field by field; whoever changes one changes the
// other and raises HP_ABI_VERSION.
#ifndef HEATPOINT_NATIVE_H
#define HEATPOINT_NATIVE_H

#include <stdint.h>

#define HP_ABI_VERSION 3

#if defined(_WIN32)
#define HP_EXPORT __declspec(dllexport)
#else
#define HP_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { HP_BASIS_NONE = 0, HP_BASIS_UNIFORM = 1, HP_BASIS_TRIANGULAR = 2, HP_BASIS_GAUSSIAN = 3 };
enum { HP_FORMULA_PAPER = 0, HP_FORMULA_RELEASED = 1 };
enum { HP_DISTANCE_L1 = 0, HP_DISTANCE_L2 = 1, HP_DISTANCE_SMOOTH_L1 = 2, HP_DISTANCE_SQUARED = 3 };
enum { HP_ISA_AUTO = 0, HP_ISA_PORTABLE = 1, HP_ISA_AVX2 = 2, HP_ISA_AVX512 = 3 };
enum { HP_OK = 0, HP_BAD_ARGUMENT = 1, HP_NO_MEMORY = 2, HP_NO_ISA = 3 };

// One call of sampling-argmax. M maps of N cells, D coordinates, S samples; all arrays are contiguous, row-major float32.
struct hp_sampling {
    // In.
    const float *logits;           // (M, N); −inf forbids a cell
    const float *points;           // (clouds, N, D) coordinates of point sets, or null: a grid
    const int64_t *cloud_of_map;   // (M) which cloud a map lies on, or null: all on the first
    const float *target;           // (M, D), or null if neither loss nor their gradient is asked for
    const float *axis_weight;      // (M, D) weights of the coordinates in the distance, or null: 1; not with l2
    const float *sample_gradient;  // (S, M, D) gradient with respect to the samples, in place of the distance's own, or null
    // Out; each may be null.
    float *loss;             // (M) mean over the samples of the distance to the target
    float *logits_gradient;  // (M, N) of the loss of the map (or of Σ samples · sample_gradient)
    float *target_gradient;  // (M, D) of the loss of the map
    float *samples;          // (S, M, D) the points drawn
    // In.
    int64_t num_maps, num_cells, num_samples;
    int64_t modulus;     // 0: all noise is independent; else a prime ≥ num_samples: noise over the samples is a lattice of its order
    int64_t maps_per_group;  // 0 or 1: maps are independent; else so many neighbours have one noise; not with a modulus,
                             // not on different clouds
    int64_t lengths[3];      // cells per axis, x first; grids only
    double strides[3], offsets[3];
    double temperature, sigma;
    uint64_t seed;
    int32_t ndim, basis, formula, distance, num_threads, isa;
    // Out.
    int64_t num_forbidden;  // maps whose cells are all −inf; their results are NaN
    int64_t num_undefined;  // maps that hold a NaN or +inf; their results are NaN
};

// The largest cells of each of M maps of N cells, largest first, of equal ones the first; NaN counts as the largest.
struct hp_largest {
    const void *maps;  // (M, N) float32 or float64
    // Out.
    void *values;   // (M, k), of the type of the maps
    int64_t *index;  // (M, k)
    float *cells;    // (M, D) mean cell of the k under the softmax of their values, x first; or null. NaN without a law
    // In.
    int64_t num_maps, num_cells, num_largest;
    int64_t lengths[3];  // cells per axis, x first; only with cells
    int32_t ndim, is_double, num_threads, isa;
};

// Means of coordinates c under p = softmax(logits · inverse_temperature), and the gradient of any function of them. A map is
// `num_rows` rows of `row_length` cells. Of the D coordinates of a cell the first depend on its place in the row (columns), the
// last on the row (row_places); all are less some middle of the caller's. Arrays are contiguous, row-major float32.
struct hp_softmax {
    // In.
    const float *logits;          // (M, num_rows, row_length); −inf forbids a cell
    const float *columns;         // (clouds, num_columns, row_length)
    const int64_t *cloud_of_map;  // (M) which of the clouds a map lies on, or null: all on the first
    const float *row_places;      // (num_rows, D − num_columns)
    const float *slope;           // (M, D) for the gradient: of the function with respect to the means
    const float *constant;        // (M) for the gradient, or null: 0
    // Out, or in for the gradient.
    float *stats;  // (M, 2 + D): the largest logit, Σ exp((logit − largest) · inverse_temperature), the means; NaN without law
    // Out.
    float *gradient;  // (M, N) p · (slope · (c − mean) · inverse_temperature + constant); or null, and the stats are made
    // In.
    int64_t num_maps, num_rows, row_length;
    double inverse_temperature;
    int32_t ndim, num_columns, num_threads, isa;
};

// The peaks of Gaussians fitted to blurred maps by one Newton step from a cell each (DARK), in cells.
struct hp_newton {
    // In.
    const float *maps;     // (M, N); −inf counts as the floor
    const int64_t *peaks;  // (M) indices of the largest cells
    const float *taps;     // (num_taps) of the blur, an odd number
    // Out.
    float *cells;       // (M, D), x first
    uint8_t *suffices;  // (M) 0: the cells around the peak do not decide, as a value is clamped; the result is left open
    // In.
    int64_t num_maps;
    int64_t lengths[3];  // cells per axis, x first; 1 for axes that do not exist
    int64_t num_taps, curvature_step, margin;
    double floor, ceiling, ridge;
    int32_t cyclic[3];  // whether an axis wraps around
    int32_t ndim, one_sided_cross, moves_inwards, num_threads;
};

HP_EXPORT int32_t hp_abi_version(void);
// Bytes of the structures above, in their order, which the caller compares with its own.
HP_EXPORT int64_t hp_sampling_size(void);
HP_EXPORT int64_t hp_largest_size(void);
HP_EXPORT int64_t hp_softmax_size(void);
HP_EXPORT int64_t hp_newton_size(void);
HP_EXPORT int32_t hp_best_isa(void);
HP_EXPORT int32_t hp_sampling_argmax(struct hp_sampling *call);
HP_EXPORT int32_t hp_largest_cells(struct hp_largest *call);
HP_EXPORT int32_t hp_softmax_mean(struct hp_softmax *call);
HP_EXPORT int32_t hp_newton_step(struct hp_newton *call);

#ifdef __cplusplus
}
#endif
#endif
