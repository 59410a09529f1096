// Where the sub-samples of a sample's cells lie: offsets drawn from the basis.

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

// Offsets in cells, or standard normals, from the streams after the first.
template <class STREAM>
struct Displacements {
    STREAM first, second, third, fourth;

    Displacements(const Map &m, uint32_t sample)
        : first(m, sample, 1), second(m, sample, 2), third(m, sample, 3), fourth(m, sample, 4) {}

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
template <int BASIS, int D, class STREAM>
static void displace(const Map &m, uint32_t sample, const float *weights, float *const positions[3], Moments &moments) {
    const Displacements<STREAM> displacements(m, sample);
    float unit[3];
    for (int a = 0; a < D; ++a) {
        const double stride = m.call->points ? 1.0 : m.call->strides[a];
        unit[a] = (float)(BASIS == HP_BASIS_GAUSSIAN ? stride * m.call->sigma : stride);
        moments.position[a] = 0;
    }
    const double weight = moments.weight;
    Sums<D> sums;
    typename Displacements<STREAM>::Words words;
    displacements.template words<BASIS, D>(0, words);
    for (int64_t start = 0; start < m.task->row; start += FLUSH) {
        const int64_t end = start + FLUSH < m.task->row ? start + FLUSH : m.task->row;
        for (int64_t quad = start / 4; quad < end / 4; quad += W) {
            const int64_t first = quad / 16 * BLOCK + quad % 16;
            typename Displacements<STREAM>::Words next;
            displacements.template words<BASIS, D>((uint32_t)(quad + W), next);
            vf offset[3][4];
            Displacements<STREAM>::template offsets<BASIS, D>(words, offset);
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

template <int D, class STREAM>
static void displace_sample(const Map &m, uint32_t sample, const float *weights, float *const positions[3], Moments &moments) {
    switch (m.call->basis) {
        case HP_BASIS_UNIFORM: return displace<HP_BASIS_UNIFORM, D, STREAM>(m, sample, weights, positions, moments);
        case HP_BASIS_TRIANGULAR: return displace<HP_BASIS_TRIANGULAR, D, STREAM>(m, sample, weights, positions, moments);
        default: return displace<HP_BASIS_GAUSSIAN, D, STREAM>(m, sample, weights, positions, moments);
    }
}
