// The relaxed weights of one sample, and their sums with the centres.

// The base times bits^(−1/τ), at τ = 2 twice that: a factor that all weights have cancels.
template <Power POWER>
static inline HP_INLINE vf powered(vf base, vf bits, float exponent) {
    if (POWER == INVERSE_ROOT) return twice_over_root(base, bits);
    if (POWER == INVERSE) return base * inverse(bits);
    if (POWER == INVERSE_SQUARE) {
        const vf y = inverse(bits);
        return (base * y) * y;
    }
    // 2^(−log2(bits)/τ): the whole and the broken part of the logarithm apart, so that their sum's rounding is not multiplied.
    const Split log = log2_split<false, 0>(bits);
    const vf broken = -exponent * log.fraction, whole = __builtin_convertvector(log.exponent >> 23, vf);
    const vf n = nearest(broken - exponent * whole);
    const vf r = broken + (-exponent * whole - n);
    return base * scaled(exp2_fraction<false>(r), n);
}

// −log2 u, E up to the factor ln 2.
template <bool is_fine>
static inline HP_INLINE vf exponentials(vu word) {
    const Logarithm log = log2_parts<is_fine>(uniforms(word));
    return -(log.exponent + log.fraction);
}

// Weights of one sample into `weights`, and their sums with the centres.
template <Power POWER, int D, class STREAM>
static HP_APART void weigh(const Map &m, uint32_t sample, float *__restrict weights, Words &ahead, Moments &moments) {
    const STREAM stream(m, sample, 0), after(m, sample + 1, 0);
    const float *base = m.row(ROW_BASE);
    const float exponent = m.exponent;
    Sums<D> sums;
    overlapped(
        m.task->row / 4, ahead, [&](uint32_t quad, Words &words) HP_INLINE { stream.words(quad, words.of[0]); },
        [&](Words &words) HP_INLINE { after.words(0, words.of[0]); },
        [&](int64_t quad, const Words &words) HP_INLINE {
            const int64_t first = first_cell(quad);
            vf w[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                w[k] = powered<POWER>(load(base + first + 16 * k), exponentials<false>(words.of[0][k]), exponent);
                store(weights + first + 16 * k, w[k]);
            }
            sums.weight += (w[0] + w[1]) + (w[2] + w[3]);
#pragma GCC unroll 3
            for (int a = 0; a < D; ++a) {
#pragma GCC unroll 4
                for (int k = 0; k < 4; ++k) sums.position[a] += w[k] * load(m.centers[a] + first + 16 * k);
            }
            sums.flush_at_times(quad, moments);
        });
    sums.leave(moments);
}

// 2 to the power of the distance to the largest score, divided by τ; 0 where there is next to nothing of it.
static inline vf cold_weight(const Map &m, vi distance) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    // At the least distance it is less than the least normal number, and flushed to 0, see NoDenormals: one instruction in place of
    // a comparison and two masks. Of farther ones the rest of the exponent would be none that the polynomial holds for.
    const int32_t least = m.least_distance;
    return m.cold.unmasked<false>(__builtin_convertvector(distance > least ? distance : vi{} + least, vf));
#else
    return m.cold.at<false>(__builtin_convertvector(distance, vf));
#endif
}

// The same in the log domain, less the sample's largest logarithm: nothing overflows at any temperature. Logarithms are whole
// numbers of a unit, whose differences are exact and only then divided by τ, in floats: the rounding is a part of the difference.
template <int D, class STREAM>
static HP_APART void weigh_cold(const Map &m, uint32_t sample, float *__restrict weights, Words &ahead, Moments &moments) {
    const STREAM stream(m, sample, 0), after(m, sample + 1, 0);
    const float *base = m.row(ROW_BASE);  // whole numbers, as the scores that lie in `weights` until the largest is known
    const int64_t row = m.task->row;
    vi most = vi{} + INT32_MIN;
    overlapped(
        row / 4, ahead, [&](uint32_t quad, Words &words) HP_INLINE { stream.words(quad, words.of[0]); },
        [&](Words &words) HP_INLINE { after.words(0, words.of[0]); },
        [&](int64_t quad, const Words &words) HP_INLINE {
            const int64_t first = first_cell(quad);
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const vi score = (vi)load(base + first + 16 * k) - log2_fixed(exponentials<true>(words.of[0][k]));
                store(weights + first + 16 * k, (vf)score);
                most = score > most ? score : most;
            }
        });
    int32_t largest = INT32_MIN;
    for (int i = 0; i < W; ++i) largest = most[i] > largest ? most[i] : largest;
    Sums<D> sums;
    for (int64_t first = 0; first < row; first += 4 * W) {
        vf w[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            w[k] = cold_weight(m, (vi)load(weights + first + k * W) - largest);
            store(weights + first + k * W, w[k]);
        }
        sums.weight += (w[0] + w[1]) + (w[2] + w[3]);
#pragma GCC unroll 3
        for (int a = 0; a < D; ++a) {
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) sums.position[a] += w[k] * load(m.centers[a] + first + k * W);
        }
        sums.flush_at_times(first / 4, moments);
    }
    sums.leave(moments);
}

template <int D, class STREAM>
static void weigh_sample(const Map &m, uint32_t sample, float *weights, Words &ahead, Moments &moments) {
    switch (m.power) {
        case INVERSE_ROOT: return weigh<INVERSE_ROOT, D, STREAM>(m, sample, weights, ahead, moments);
        case INVERSE: return weigh<INVERSE, D, STREAM>(m, sample, weights, ahead, moments);
        case INVERSE_SQUARE: return weigh<INVERSE_SQUARE, D, STREAM>(m, sample, weights, ahead, moments);
        case GENERAL: return weigh<GENERAL, D, STREAM>(m, sample, weights, ahead, moments);
        default: return weigh_cold<D, STREAM>(m, sample, weights, ahead, moments);
    }
}
