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
    const Logarithm log = log2_parts<false>(bits);
    const vf broken = -exponent * log.fraction;
    const vf n = nearest(broken - exponent * log.exponent);
    const vf r = broken + (-exponent * log.exponent - n);
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

// The same in the log domain, less the sample's largest logarithm: nothing overflows at any temperature. In doubles, because a
// float's rounding would be multiplied by 1/τ.
template <int D, class STREAM>
static void weigh_cold(const Map &m, uint32_t sample, float *__restrict weights, Words &ahead, Moments &moments) {
    const STREAM stream(m, sample, 0), after(m, sample + 1, 0);
    const double *log_base = reinterpret_cast<const double *>(m.row(ROW_LOG_BASE));
    double *__restrict scores = reinterpret_cast<double *>(m.row(ROW_SCORES));
    const int64_t row = m.task->row;
    const double exponent = 1 / m.call->temperature;
    vd most[2] = {vd{} - INFINITY, vd{} - INFINITY};
    overlapped(
        row / 4, ahead, [&](uint32_t quad, Words &words) HP_INLINE { stream.words(quad, words.of[0]); },
        [&](Words &words) HP_INLINE { after.words(0, words.of[0]); },
        [&](int64_t quad, const Words &words) HP_INLINE {
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const Logarithm log = log2_parts<true>(exponentials<true>(words.of[0][k]));
#pragma GCC unroll 2
                for (int half = 0; half < 2; ++half) {
                    const int64_t i = first_cell(quad) + 16 * k + half * QUADS;
                    const vd bits = widened(log.exponent, half) + widened(log.fraction, half);
                    const vd score = *reinterpret_cast<const vd *>(log_base + i) - exponent * bits;
                    *reinterpret_cast<vd *>(scores + i) = score;
                    most[half] = score > most[half] ? score : most[half];
                }
            }
        });
    double largest = -INFINITY;
    for (int i = 0; i < QUADS; ++i) {
        largest = most[0][i] > largest ? most[0][i] : largest;
        largest = most[1][i] > largest ? most[1][i] : largest;
    }
    const double magic = 6755399441055744.0;
    Sums<D> sums;
    for (int64_t first = 0; first < row; first += 4 * W) {
        for (int64_t i = first; i < first + 4 * W; i += W) {
            vd whole[2], rest[2];
#pragma GCC unroll 2
            for (int half = 0; half < 2; ++half) {
                vd bits = *reinterpret_cast<const vd *>(scores + i + half * QUADS) - largest;
                bits = bits < -120.0 ? vd{} - 120.0 : bits;
                whole[half] = (bits + magic) - magic;
                rest[half] = bits - whole[half];
            }
            const vf n = narrowed(whole[0], whole[1]);
            const vf weight = scaled(exp2_fraction<true>(narrowed(rest[0], rest[1])), n);
            const vf w = n > -100.0f ? weight : vf{};
            store(weights + i, w);
            sums.weight += w;
#pragma GCC unroll 3
            for (int a = 0; a < D; ++a) sums.position[a] += w * load(m.centers[a] + i);
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
