// Sampling-argmax of one map after the other, forward and gradient together; compiled once per instruction set.
//
// A sample's weight of cell i is (p_i / E_i)^(1/τ) (paper) or p_i E_i^(−1/τ) (released), E_i = −log u_i, up to a factor that
// cancels in the ratio: softmax((log p + g) / τ) with the Gumbel draw g = −log E, without two logarithms. Weights are kept until
// the sample's point and with it the slope of the distance are known; then
//     ∂d/∂h_i = (w_i / Σw) Σ_a d'_a (c_ai + e_ai − Y_a) / τ   (released: without the τ)
// is added to the map's gradient. Nothing of size samples x cells exists, and a map's result depends on no other map.

#include <cmath>
#include <cstring>
#include <initializer_list>

#include "sampling_call.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace heatpoint {
namespace HP_ISA {

#include "vectors.hpp"
#include "philox.hpp"

enum Power { GENERAL, INVERSE_ROOT, INVERSE, INVERSE_SQUARE, LOGARITHMIC };

struct Map {
    Task *task;
    hp_sampling *call;
    Rows room;
    int64_t index;
    const float *centers[3];
    double middle[3];
    Power power;
    float exponent;  // 1/τ

    float *row(int number) const { return room.row(number); }
};

// Weighted sums over the cells.
struct Moments {
    double weight, position[3];
};

// Sums of a few thousand floats, then doubles.
template <int D>
struct Sums {
    vf weight{}, position[D + 1]{};

    void flush(Moments &into) {
        into.weight += total(weight);
        for (int a = 0; a < D; ++a) into.position[a] += total(position[a]);
        *this = Sums{};
    }
};

constexpr int64_t FLUSH = 32 * BLOCK;

// Base weights p^(1/τ) or p, 1 in the largest cell; false if the map has none: result NaN.
static bool prepare(const Map &m) {
    hp_sampling &call = *m.call;
    const int64_t n = call.num_cells, row = m.task->row;
    const float *logits = call.logits + m.index * n;
    float *base = m.row(ROW_BASE), *fraction = m.row(ROW_WEIGHTS);
    std::memcpy(base, logits, n * sizeof(float));
    for (int64_t i = n; i < row; ++i) base[i] = -INFINITY;
    vf most = all(-INFINITY);
    vi is_nan{};
    for (int64_t i = 0; i < row; i += W) {
        const vf x = load(base + i);
        is_nan |= (vi)(x != x);
        most = x > most ? x : most;
    }
    float largest = -INFINITY;
    bool undefined = false;
    for (int i = 0; i < W; ++i) {
        largest = most[i] > largest ? most[i] : largest;
        undefined |= is_nan[i] != 0;
    }
    if (undefined || largest == INFINITY) {
        m.task->num_undefined.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    if (largest == -INFINITY) {
        m.task->num_forbidden.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    const double in_bits = 1.4426950408889634 * (call.formula == HP_FORMULA_PAPER ? 1 / call.temperature : 1.0);
    const double top = largest;
    if (m.power == LOGARITHMIC) {
        double *log_base = reinterpret_cast<double *>(m.row(ROW_LOG_BASE));
        for (int64_t i = 0; i < row; ++i) log_base[i] = ((double)base[i] - top) * in_bits;
        return true;
    }
    // The whole part and the rest in doubles: of large logits floats would lose the rest.
    const double magic = 6755399441055744.0;
    for (int64_t i = 0; i < row; ++i) {
        double bits = ((double)base[i] - top) * in_bits;
        bits = bits < -200 ? -200 : bits;
        const double whole = (bits + magic) - magic;
        fraction[i] = (float)(bits - whole);
        base[i] = (float)whole;
    }
    for (int64_t i = 0; i < row; i += W) {
        const vf whole = load(base + i);
        const vf weight = scaled(exp2_fraction(load(fraction + i)), whole);
        store(base + i, whole > -100.0f ? weight : vf{});
    }
    return true;
}

template <Power POWER>
static inline __attribute__((always_inline)) vf powered(vf base, vf bits, float exponent) {
    if (POWER == INVERSE_ROOT) return base * inverse_root(bits);
    if (POWER == INVERSE) return base * inverse(bits);
    if (POWER == INVERSE_SQUARE) {
        const vf y = inverse(bits);
        return (base * y) * y;
    }
    // 2^(−log2(bits)/τ): the whole and the broken part of the logarithm apart, so that their sum's rounding is not multiplied.
    const Logarithm log = log2_parts<false>(bits);
    const vf broken = -exponent * log.fraction;
    const vf n = nearest(broken - exponent * log.exponent);
    const vf r = broken + (-exponent * log.exponent - n);
    return base * scaled(exp2_fraction(r), n);
}

// −log2 u, E up to the factor ln 2.
template <bool is_fine>
static inline __attribute__((always_inline)) vf exponentials(vu word) {
    const Logarithm log = log2_parts<is_fine>(uniforms(word));
    return -(log.exponent + log.fraction);
}

// Weights of one sample into `weights`, and their sums with the centres.
template <Power POWER, int D>
static Moments weigh(const Map &m, uint32_t sample, float *__restrict weights) {
    const Philox philox(m.call->seed, sample, (uint32_t)m.index, 0);
    const float *base = m.row(ROW_BASE);
    const float exponent = m.exponent;
    Moments moments{};
    Sums<D> sums;
    // The words of the next quads are made while those of these become weights: two chains of dependent operations, neither of
    // which alone keeps the processor busy.
    vu words[4];
    philox.words(0, words);
    for (int64_t start = 0; start < m.task->row; start += FLUSH) {
        const int64_t end = start + FLUSH < m.task->row ? start + FLUSH : m.task->row;
        for (int64_t quad = start / 4; quad < end / 4; quad += W) {
            const int64_t first = quad / 16 * BLOCK + quad % 16;
            vu next[4];
            philox.words((uint32_t)(quad + W), next);
            vf w[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                w[k] = powered<POWER>(load(base + first + 16 * k), exponentials<false>(words[k]), exponent);
                store(weights + first + 16 * k, w[k]);
                words[k] = next[k];
            }
            sums.weight += (w[0] + w[1]) + (w[2] + w[3]);
#pragma GCC unroll 3
            for (int a = 0; a < D; ++a) {
#pragma GCC unroll 4
                for (int k = 0; k < 4; ++k) sums.position[a] += w[k] * load(m.centers[a] + first + 16 * k);
            }
        }
        sums.flush(moments);
    }
    return moments;
}

// The same in the log domain, less the sample's largest logarithm: nothing overflows at any temperature. In doubles, because a
// float's rounding would be multiplied by 1/τ.
template <int D>
static Moments weigh_cold(const Map &m, uint32_t sample, float *__restrict weights) {
    const Philox philox(m.call->seed, sample, (uint32_t)m.index, 0);
    const double *log_base = reinterpret_cast<const double *>(m.row(ROW_LOG_BASE));
    double *__restrict scores = reinterpret_cast<double *>(m.row(ROW_SCORES));
    const int64_t row = m.task->row;
    const double exponent = 1 / m.call->temperature;
    vd most[2] = {vd{} - INFINITY, vd{} - INFINITY};
    vu words[4];
    philox.words(0, words);
    for (int64_t quad = 0; quad < row / 4; quad += W) {
        const int64_t first = quad / 16 * BLOCK + quad % 16;
        vu next[4];
        philox.words((uint32_t)(quad + W), next);
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            const Logarithm log = log2_parts<true>(exponentials<true>(words[k]));
#pragma GCC unroll 2
            for (int half = 0; half < 2; ++half) {
                const int64_t i = first + 16 * k + half * QUADS;
                const vd bits = widened(log.exponent, half) + widened(log.fraction, half);
                const vd score = *reinterpret_cast<const vd *>(log_base + i) - exponent * bits;
                *reinterpret_cast<vd *>(scores + i) = score;
                most[half] = score > most[half] ? score : most[half];
            }
            words[k] = next[k];
        }
    }
    double largest = -INFINITY;
    for (int i = 0; i < QUADS; ++i) {
        largest = most[0][i] > largest ? most[0][i] : largest;
        largest = most[1][i] > largest ? most[1][i] : largest;
    }
    const double magic = 6755399441055744.0;
    Moments moments{};
    Sums<D> sums;
    for (int64_t start = 0; start < row; start += FLUSH) {
        const int64_t end = start + FLUSH < row ? start + FLUSH : row;
        for (int64_t i = start; i < end; i += W) {
            vd whole[2], rest[2];
#pragma GCC unroll 2
            for (int half = 0; half < 2; ++half) {
                vd bits = *reinterpret_cast<const vd *>(scores + i + half * QUADS) - largest;
                bits = bits < -120.0 ? vd{} - 120.0 : bits;
                whole[half] = (bits + magic) - magic;
                rest[half] = bits - whole[half];
            }
            const vf n = narrowed(whole[0], whole[1]);
            const vf weight = scaled(exp2_fraction(narrowed(rest[0], rest[1])), n);
            const vf w = n > -100.0f ? weight : vf{};
            store(weights + i, w);
            sums.weight += w;
#pragma GCC unroll 3
            for (int a = 0; a < D; ++a) sums.position[a] += w * load(m.centers[a] + i);
        }
        sums.flush(moments);
    }
    return moments;
}

template <int D>
static Moments weigh_sample(const Map &m, uint32_t sample, float *weights) {
    switch (m.power) {
        case INVERSE_ROOT: return weigh<INVERSE_ROOT, D>(m, sample, weights);
        case INVERSE: return weigh<INVERSE, D>(m, sample, weights);
        case INVERSE_SQUARE: return weigh<INVERSE_SQUARE, D>(m, sample, weights);
        case GENERAL: return weigh<GENERAL, D>(m, sample, weights);
        default: return weigh_cold<D>(m, sample, weights);
    }
}

// sin and cos of half a turn times x for |x| ≤ 1, to 3e-8.
static inline void sine_cosine(vf x, vf &sine, vf &cosine) {
    const vf quarters = 2.0f * x, n = nearest(quarters), f = quarters - n, f2 = f * f;
    vf s = all(0.00015819507825654f);
    s = s * f2 - 0.0046812607906758785f;
    s = s * f2 + 0.07969257980585098f;
    s = s * f2 - 0.6459640860557556f;
    s = (s * f2 + 1.5707963705062866f) * f;
    vf c = all(0.0009033629903569818f);
    c = c * f2 - 0.020859936252236366f;
    c = c * f2 + 0.2536691725254059f;
    c = c * f2 - 1.2337005138397217f;
    c = c * f2 + 1.0f;
    const vi turn = __builtin_convertvector(n, vi);
    const vi is_odd = (turn & 1) != 0;
    const vf a = is_odd ? c : s, b = is_odd ? s : c;
    sine = (turn & 2) != 0 ? -a : a;
    cosine = ((turn + 1) & 2) != 0 ? -b : b;
}

// The upper 16 bits of a word as an odd multiple of 2⁻¹⁶ in (−1, 1).
static inline vf centered(vu word) {
    return __builtin_convertvector((vi)word >> 16, vf) * 0x1p-15f + 0x1p-16f;
}

template <int BASIS>
static inline __attribute__((always_inline)) vf displaced(vf centered) {
    if (BASIS == HP_BASIS_UNIFORM) return 0.5f * centered;
    const vi sign = (vi)centered & (int32_t)0x80000000;
    const vf size = (vf)((vi)centered ^ sign);
    return (vf)((vi)(1.0f - square_root(1.0f - size)) | sign);
}

struct Displacements {
    Philox first, second, third, fourth;

    Displacements(const Map &m, uint32_t sample)
        : first(m.call->seed, sample, (uint32_t)m.index, 1),
          second(m.call->seed, sample, (uint32_t)m.index, 2),
          third(m.call->seed, sample, (uint32_t)m.index, 3),
          fourth(m.call->seed, sample, (uint32_t)m.index, 4) {}

    struct Words {
        vu stream[4][4];
    };

    template <int BASIS, int D>
    inline __attribute__((always_inline)) void words(uint32_t quad, Words &out) const {
        constexpr bool is_gaussian = BASIS == HP_BASIS_GAUSSIAN;
        first.words(quad, out.stream[0]);
        if (is_gaussian || D > 2) second.words(quad, out.stream[1]);
        if (is_gaussian && D > 2) {
            third.words(quad, out.stream[2]);
            fourth.words(quad, out.stream[3]);
        }
    }

    // Offsets in cells, standard normals for the Gaussian: x, y and z of 4 W cells. Two axes share a word, 16 bits each, or two
    // words by Box and Muller's transform.
    template <int BASIS, int D>
    static inline __attribute__((always_inline)) void offsets(const Words &words, vf offset[3][4]) {
        if (BASIS == HP_BASIS_GAUSSIAN) {
            normals<(D > 1)>(words.stream[0], words.stream[1], offset[0], offset[1]);
            if (D > 2) normals<false>(words.stream[2], words.stream[3], offset[2], offset[2]);
            return;
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            offset[0][k] = displaced<BASIS>(centered(words.stream[0][k]));
            if (D > 1) offset[1][k] = displaced<BASIS>(centered(words.stream[0][k] << 16));
            if (D > 2) offset[2][k] = displaced<BASIS>(centered(words.stream[1][k]));
        }
    }

  private:
    template <bool is_both>
    static inline __attribute__((always_inline)) void normals(const vu *a, const vu *b, vf *x, vf *y) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            const vf radius = square_root(1.3862943649291992f * exponentials<false>(a[k]));
            vf sine, cosine;
            sine_cosine(__builtin_convertvector((vi)b[k] >> 8, vf) * 0x1p-23f, sine, cosine);
            x[k] = radius * cosine;
            if (is_both) y[k] = radius * sine;
        }
    }
};

// Positions c + e of one sample's sub-samples, one per cell, and the sums with its weights.
template <int BASIS, int D>
static void displace(const Map &m, uint32_t sample, const float *weights, float *const positions[3], Moments &moments) {
    const Displacements displacements(m, sample);
    float unit[3];
    for (int a = 0; a < D; ++a) {
        const double stride = m.call->points ? 1.0 : m.call->strides[a];
        unit[a] = (float)(BASIS == HP_BASIS_GAUSSIAN ? stride * m.call->sigma : stride);
        moments.position[a] = 0;
    }
    const double weight = moments.weight;
    Sums<D> sums;
    Displacements::Words words;
    displacements.words<BASIS, D>(0, words);
    for (int64_t start = 0; start < m.task->row; start += FLUSH) {
        const int64_t end = start + FLUSH < m.task->row ? start + FLUSH : m.task->row;
        for (int64_t quad = start / 4; quad < end / 4; quad += W) {
            const int64_t first = quad / 16 * BLOCK + quad % 16;
            Displacements::Words next;
            displacements.words<BASIS, D>((uint32_t)(quad + W), next);
            vf offset[3][4];
            Displacements::offsets<BASIS, D>(words, offset);
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const int64_t i = first + 16 * k;
                const vf w = load(weights + i);
#pragma GCC unroll 3
                for (int a = 0; a < D; ++a) {
                    const vf position = load(m.centers[a] + i) + unit[a] * offset[a][k];
                    store(positions[a] + i, position);
                    sums.position[a] += w * position;
                }
            }
            words = next;
        }
        sums.flush(moments);
    }
    moments.weight = weight;
}

template <int D>
static void displace_sample(const Map &m, uint32_t sample, const float *weights, float *const positions[3], Moments &moments) {
    switch (m.call->basis) {
        case HP_BASIS_UNIFORM: return displace<HP_BASIS_UNIFORM, D>(m, sample, weights, positions, moments);
        case HP_BASIS_TRIANGULAR: return displace<HP_BASIS_TRIANGULAR, D>(m, sample, weights, positions, moments);
        default: return displace<HP_BASIS_GAUSSIAN, D>(m, sample, weights, positions, moments);
    }
}

// The distance of a sample to the target, and its slope along each axis.
static double distance_of(const Map &m, const double point[3], double slope[3]) {
    const hp_sampling &call = *m.call;
    const int D = call.ndim;
    double sum = 0;
    for (int a = 0; a < D; ++a) {
        const double delta = point[a] - call.target[m.index * D + a], size = std::fabs(delta);
        const double sign = delta > 0 ? 1 : delta < 0 ? -1 : delta;  // NaN stays
        const double weight = call.axis_weight ? call.axis_weight[m.index * D + a] : 1.0;
        if (call.distance == HP_DISTANCE_L1) {
            sum += weight * size, slope[a] = weight * sign;
        } else if (call.distance == HP_DISTANCE_SMOOTH_L1) {
            sum += weight * (size < 1 ? 0.5 * delta * delta : size - 0.5), slope[a] = weight * (size < 1 ? delta : sign);
        } else if (call.distance == HP_DISTANCE_SQUARED) {
            sum += weight * delta * delta, slope[a] = weight * 2 * delta;
        } else {
            sum += delta * delta, slope[a] = delta;
        }
    }
    if (call.distance != HP_DISTANCE_L2) return sum;
    const double length = std::sqrt(sum);
    for (int a = 0; a < D; ++a) slope[a] = length == 0 ? 0 : slope[a] / length;
    return length;
}

// What a sample adds to the gradient of a cell: weight · (Σ_a factor_a position_a + constant).
struct Slope {
    float factor[3], constant;
};

template <int D, int COUNT, bool IS_DISPLACED>
static void add_gradients(const Map &m, int first, const Slope *slopes) {
    float *__restrict gradient = m.row(ROW_GRADIENT);
    const float *weights[COUNT], *positions[COUNT][3];
    for (int s = 0; s < COUNT; ++s) {
        weights[s] = m.row(ROW_WEIGHTS + first + s);
        for (int a = 0; a < D; ++a)
            positions[s][a] = IS_DISPLACED ? m.row(ROW_POSITIONS + 3 * (first + s) + a) : m.centers[a];
    }
    for (int64_t i = 0; i < m.task->row; i += W) {
        vf sum = load(gradient + i);
        vf center[3];
        if (!IS_DISPLACED)
            for (int a = 0; a < D; ++a) center[a] = load(m.centers[a] + i);
#pragma GCC unroll 4
        for (int s = 0; s < COUNT; ++s) {
            vf slope = all(slopes[first + s].constant);
#pragma GCC unroll 3
            for (int a = 0; a < D; ++a)
                slope += slopes[first + s].factor[a] * (IS_DISPLACED ? load(positions[s][a] + i) : center[a]);
            sum += load(weights[s] + i) * slope;
        }
        store(gradient + i, sum);
    }
}

// The released formula: one marginal per axis, one offset per position of an axis; position j of the axis moves the sample by
// `slope[j]` per unit of its marginal. Before the first position and from the last to the next whole block, marginal, noise and
// change are 0.
struct Axis {
    int64_t length;
    float *marginal, *slope, *change, *place, *noise;
    double mean;  // Σ_j marginal_j slope_j, which normalising the weights takes off

    double locate(const hp_sampling &call, int axis, double middle);

  private:
    double plain();
};

double Axis::plain() {
    vf sum{};
    for (int64_t j = 0; j < padded(length); j += W) {
        const vf at = load_anywhere(place + j);
        store_anywhere(slope + j, at);
        sum += load_anywhere(marginal + j) * at;
    }
    return mean = total(sum);
}

double Axis::locate(const hp_sampling &call, int axis, double middle) {
    const int64_t end = padded(length);
    const float stride = (float)call.strides[axis], origin = (float)(call.offsets[axis] - middle);
    const bool is_gaussian = call.basis == HP_BASIS_GAUSSIAN;
    const float unit = stride * (is_gaussian ? (float)call.sigma : 1.0f);
    vf cell, weights{}, sums{};
    for (int i = 0; i < W; ++i) cell[i] = i;
    for (int64_t j = 0; j < end; j += W)
        store_anywhere(place + j, origin + stride * (cell + (float)j) + unit * load_anywhere(noise + j));
    if (call.basis == HP_BASIS_TRIANGULAR) {
        // Offsets lie in (−1, 1): the marginal is interpolated between a position and one of its neighbours.
        for (int64_t j = 0; j < end; j += W) {
            const vf e = load_anywhere(noise + j), size = e < 0.0f ? -e : e;
            const vf neighbor = e < 0.0f ? load_anywhere(marginal + j - 1) : load_anywhere(marginal + j + 1);
            const vf q = (1.0f - size) * load_anywhere(marginal + j) + size * neighbor;
            weights += q;
            sums += q * load_anywhere(place + j);
        }
    } else if (is_gaussian && call.ndim == 2) {
        for (int64_t j = 0; j < length; ++j) change[j] = std::exp(-2.0f * noise[j] * noise[j]);
        for (int64_t j = 0; j < end; j += W) {
            const vf q = load_anywhere(marginal + j) * load_anywhere(change + j);
            weights += q;
            sums += q * load_anywhere(place + j);
        }
    }
    const double weight = total(weights);
    if (!(weight > 0)) return plain();
    const double located = total(sums) / weight;
    const float center = (float)located, share = (float)(1 / weight);
    mean = 0;
    if (is_gaussian) {
        for (int64_t j = 0; j < end; j += W)
            store_anywhere(slope + j, load_anywhere(change + j) * (load_anywhere(place + j) - center) * share);
        return located;
    }
    for (int64_t j = 0; j < end; j += W) store_anywhere(change + j, (load_anywhere(place + j) - center) * share);
    for (int64_t j = length; j < end; ++j) change[j] = 0;
    for (int64_t j = 0; j < end; j += W) {
        const vf e = load_anywhere(noise + j), before = load_anywhere(noise + j - 1), after = load_anywhere(noise + j + 1);
        const vf size = e < 0.0f ? -e : e;
        store_anywhere(slope + j, (1.0f - size) * load_anywhere(change + j) +
                             (before > 0.0f ? before : vf{}) * load_anywhere(change + j - 1) -
                             (after < 0.0f ? after : vf{}) * load_anywhere(change + j + 1));
    }
    return located;
}

template <int BASIS, int D>
static void draw_axes(const Map &m, uint32_t sample, int64_t longest, float *const noise[3]) {
    const Displacements displacements(m, sample);
    for (int64_t block = 0; block < longest; block += BLOCK) {
        for (int part = 0; part < 16; part += W) {
            Displacements::Words words;
            displacements.words<BASIS, D>((uint32_t)(block / 4 + part), words);
            vf offset[3][4];
            Displacements::offsets<BASIS, D>(words, offset);
            for (int a = 0; a < D; ++a)
                for (int k = 0; k < 4; ++k) std::memcpy(noise[a] + block + 16 * k + part, &offset[a][k], sizeof(vf));
        }
    }
}

// Room of the released formula.
struct Axes {
    Axis axis[3];
    float *noise[3], *plane, *line;
    double *sums[2];

    void arrange(const hp_sampling &call, float *room) {
        const int64_t longest = padded(longest_axis(call)), margin = 16;
        for (int a = 0; a < 3; ++a) {
            axis[a].length = call.lengths[a];
            for (float **row : {&axis[a].marginal, &axis[a].slope, &axis[a].change, &axis[a].place, &axis[a].noise}) {
                std::memset(room, 0, (longest + 2 * margin) * sizeof(float));
                *row = room + margin;
                room += longest + 2 * margin;
            }
            noise[a] = axis[a].noise;
        }
        for (double **row : {&sums[0], &sums[1]}) {
            *row = reinterpret_cast<double *>(room);
            room += 2 * longest;
        }
        plane = room;
        line = plane + longest;
    }
};

// Sums of the weights over all axes but one, in shares of their total.
static void marginalise(Axes &axes, const float *__restrict weights, double weight) {
    const int64_t width = axes.axis[0].length, height = axes.axis[1].length, depth = axes.axis[2].length;
    float *mx = axes.axis[0].marginal, *my = axes.axis[1].marginal, *mz = axes.axis[2].marginal;
    const double share = 1 / weight;
    if (height * depth == 1) {
        const float shrink = (float)share;
        for (int64_t x = 0; x < width; ++x) mx[x] = shrink * weights[x];
        return;
    }
    double *columns = axes.sums[0], *rows = axes.sums[1];
    float *__restrict plane = axes.plane;
    std::memset(columns, 0, width * sizeof(double));
    std::memset(rows, 0, height * sizeof(double));
    for (int64_t z = 0; z < depth; ++z) {
        double layer = 0;
        for (int64_t x = 0; x < width; ++x) plane[x] = 0;
        for (int64_t y = 0; y < height; ++y, weights += width) {
            vf lanes{};
            float rest = 0;
            int64_t x = 0;
            for (; x + W <= width; x += W) {
                const vf w = load_anywhere(weights + x);
                store(plane + x, load(plane + x) + w);
                lanes += w;
            }
            for (; x < width; ++x) {
                plane[x] += weights[x];
                rest += weights[x];
            }
            const double sum = total_float(lanes) + rest;
            rows[y] += sum;
            layer += sum;
        }
        for (int64_t x = 0; x < width; ++x) columns[x] += plane[x];
        mz[z] = (float)(layer * share);
    }
    for (int64_t x = 0; x < width; ++x) mx[x] = (float)(columns[x] * share);
    for (int64_t y = 0; y < height; ++y) my[y] = (float)(rows[y] * share);
}

static void add_marginal_gradients(const Map &m, Axes &axes, const float *__restrict weights, const Slope &slope) {
    const int64_t width = axes.axis[0].length, height = axes.axis[1].length, depth = axes.axis[2].length;
    const int D = m.call->ndim;
    float *__restrict gradient = m.row(ROW_GRADIENT), *__restrict line = axes.line;
    double mean = 0;
    for (int a = 0; a < D; ++a) mean += slope.factor[a] * axes.axis[a].mean;
    for (int64_t x = 0; x < width; ++x) line[x] = (float)(slope.factor[0] * axes.axis[0].slope[x]);
    for (int64_t z = 0; z < depth; ++z) {
        for (int64_t y = 0; y < height; ++y, weights += width, gradient += width) {
            double rest = -mean;
            if (D > 1) rest += slope.factor[1] * axes.axis[1].slope[y];
            if (D > 2) rest += slope.factor[2] * axes.axis[2].slope[z];
            const float constant = (float)rest;
            for (int64_t x = 0; x < width; ++x) gradient[x] += weights[x] * (line[x] + constant);
        }
    }
}

// The point of the sample under the released formula, less the middle.
template <int D>
static void locate_by_axes(const Map &m, uint32_t sample, Axes &axes, const float *weights, Moments &moments) {
    const hp_sampling &call = *m.call;
    marginalise(axes, weights, moments.weight);
    const int64_t longest = longest_axis(call);
    if (call.basis == HP_BASIS_UNIFORM) draw_axes<HP_BASIS_UNIFORM, D>(m, sample, longest, axes.noise);
    if (call.basis == HP_BASIS_TRIANGULAR) draw_axes<HP_BASIS_TRIANGULAR, D>(m, sample, longest, axes.noise);
    if (call.basis == HP_BASIS_GAUSSIAN) draw_axes<HP_BASIS_GAUSSIAN, D>(m, sample, longest, axes.noise);
    // Only whole blocks are drawn; what lies beyond an axis belongs to no position.
    for (int a = 0; a < D; ++a)
        for (int64_t j = call.lengths[a]; j < padded(longest); ++j) axes.noise[a][j] = 0;
    for (int a = 0; a < D; ++a)
        moments.position[a] = moments.weight * axes.axis[a].locate(call, a, m.middle[a]);
}

// Centres of the map's own cloud, less their mean, so that no digits are lost far from the origin.
template <int D>
static void center_cloud(Map &m) {
    const hp_sampling &call = *m.call;
    const int64_t cloud = call.cloud_of_map ? call.cloud_of_map[m.index] : 0;
    fill_centers(call.points + cloud * call.num_cells * D, call.num_cells, D, m.task->row, m.row(ROW_CENTERS),
                 m.row(ROW_CENTERS + 1), m.row(ROW_CENTERS + 2), m.middle);
    for (int a = 0; a < D; ++a) m.centers[a] = m.row(ROW_CENTERS + a);
}

static void fail_map(const Map &m) {
    const hp_sampling &call = *m.call;
    const int64_t n = call.num_cells, D = call.ndim;
    if (call.loss) call.loss[m.index] = NAN;
    for (int64_t i = 0; call.logits_gradient && i < n; ++i) call.logits_gradient[m.index * n + i] = NAN;
    for (int64_t a = 0; a < D; ++a) {
        if (call.target_gradient) call.target_gradient[m.index * D + a] = NAN;
        for (int64_t s = 0; call.samples && s < call.num_samples; ++s)
            call.samples[(s * call.num_maps + m.index) * D + a] = NAN;
    }
}

template <int D, int COUNT>
static void add_group(const Map &m, int first, const Slope *slopes, bool is_displaced) {
    if (is_displaced)
        add_gradients<D, COUNT, true>(m, first, slopes);
    else
        add_gradients<D, COUNT, false>(m, first, slopes);
}

template <int D>
static void run_map(Map &m) {
    hp_sampling &call = *m.call;
    const int64_t n = call.num_cells, num_samples = call.num_samples;
    if (!prepare(m)) return fail_map(m);
    if (call.points && !m.task->centers) center_cloud<D>(m);
    const bool by_axes = call.formula == HP_FORMULA_RELEASED && call.basis != HP_BASIS_NONE;
    const bool is_displaced = !by_axes && call.basis != HP_BASIS_NONE;
    const bool needs_gradient = call.logits_gradient != nullptr;
    float *gradient = m.row(ROW_GRADIENT);
    if (needs_gradient) std::memset(gradient, 0, m.task->row * sizeof(float));
    Axes axes;
    if (by_axes) axes.arrange(call, m.row(ROW_AXES));
    Slope slopes[GROUP];
    double loss = 0, target_gradient[3] = {0, 0, 0};
    // Samples of large maps do not wait for others: together they would neither fit the cache nor leave memory alone.
    const int64_t kept = m.task->row * (is_displaced ? 1 + D : 1);
    const int group = kept * GROUP <= GROUPED ? GROUP : 1;
    int waiting = 0;
    for (int64_t s = 0; s < num_samples; ++s) {
        float *weights = m.row(ROW_WEIGHTS + waiting);
        Moments moments = is_displaced || by_axes ? weigh_sample<0>(m, (uint32_t)s, weights)
                                                  : weigh_sample<D>(m, (uint32_t)s, weights);
        if (is_displaced) {
            float *positions[3];
            for (int a = 0; a < 3; ++a) positions[a] = m.row(ROW_POSITIONS + 3 * waiting + a);
            displace_sample<D>(m, (uint32_t)s, weights, positions, moments);
        }
        if (by_axes) locate_by_axes<D>(m, (uint32_t)s, axes, weights, moments);
        double point[3], slope[3] = {0, 0, 0};
        for (int a = 0; a < D; ++a) {
            point[a] = m.middle[a] + moments.position[a] / moments.weight;
            if (call.samples) call.samples[(s * call.num_maps + m.index) * D + a] = (float)point[a];
        }
        if (call.target) loss += distance_of(m, point, slope);
        for (int a = 0; a < D; ++a) {
            target_gradient[a] -= slope[a];
            if (call.sample_gradient) slope[a] = call.sample_gradient[(s * call.num_maps + m.index) * D + a];
        }
        if (!needs_gradient) continue;
        Slope &own = slopes[waiting];
        double constant = 0;
        for (int a = 0; a < D; ++a) {
            own.factor[a] = (float)(slope[a] / moments.weight);
            constant -= own.factor[a] * (moments.position[a] / moments.weight);
        }
        own.constant = (float)constant;
        if (by_axes) {
            add_marginal_gradients(m, axes, weights, own);
        } else if (group == 1) {
            add_group<D, 1>(m, 0, slopes, is_displaced);
        } else if (++waiting == GROUP) {
            add_group<D, GROUP>(m, 0, slopes, is_displaced);
            waiting = 0;
        }
    }
    for (int s = 0; s < waiting; ++s) add_group<D, 1>(m, s, slopes, is_displaced);
    const double mean = 1.0 / (double)num_samples;
    if (call.loss) call.loss[m.index] = (float)(loss * mean);
    for (int a = 0; call.target_gradient && a < D; ++a)
        call.target_gradient[m.index * D + a] = (float)(target_gradient[a] * mean);
    if (!needs_gradient) return;
    const double per_logit = call.formula == HP_FORMULA_PAPER ? 1 / call.temperature : 1.0;
    const float scale = (float)(per_logit * (call.sample_gradient ? 1.0 : mean));
    float *__restrict out = call.logits_gradient + m.index * n;
    for (int64_t i = 0; i < n; ++i) out[i] = scale * gradient[i];
}

static Power power_of(double temperature) {
    if (temperature < COLD) return LOGARITHMIC;
    if (temperature == 2) return INVERSE_ROOT;
    if (temperature == 1) return INVERSE;
    return temperature == 0.5 ? INVERSE_SQUARE : GENERAL;
}

}  // namespace HP_ISA

#define HP_WORKER_NAME(isa) worker_##isa
#define HP_WORKER(isa) HP_WORKER_NAME(isa)

void HP_WORKER(HP_ISA)(Task &task, float *room) {
    using namespace HP_ISA;
    Map m{};
    m.task = &task;
    m.call = task.call;
    m.room = Rows{room, task.row};
    m.power = power_of(task.call->temperature);
    m.exponent = (float)(1 / task.call->temperature);
    for (int a = 0; a < 3; ++a) {
        m.middle[a] = task.middle[a];
        m.centers[a] = task.centers ? task.centers + a * Rows::stride(task.row) : nullptr;
    }
    for (;;) {
        m.index = task.next.fetch_add(1, std::memory_order_relaxed);
        if (m.index >= task.call->num_maps) return;
        switch (task.call->ndim) {
            case 1: run_map<1>(m); break;
            case 2: run_map<2>(m); break;
            default: run_map<3>(m);
        }
    }
}

}  // namespace heatpoint
