// Vectors of HP_WIDTH floats in the compiler's own vector extension, and the few elementary functions the kernels need.
// Included once per instruction set, inside its namespace, after HP_WIDTH is defined.

typedef float vf __attribute__((vector_size(4 * HP_WIDTH)));
typedef int32_t vi __attribute__((vector_size(4 * HP_WIDTH)));
typedef uint32_t vu __attribute__((vector_size(4 * HP_WIDTH)));
typedef uint64_t vq __attribute__((vector_size(4 * HP_WIDTH)));
typedef float hf __attribute__((vector_size(2 * HP_WIDTH)));
typedef int32_t hi __attribute__((vector_size(2 * HP_WIDTH)));
typedef double vd __attribute__((vector_size(4 * HP_WIDTH)));
typedef int64_t vl __attribute__((vector_size(4 * HP_WIDTH)));
constexpr int W = HP_WIDTH;
constexpr int QUADS = W / 2;

static inline vf all(float x) { return vf{} + x; }
static inline vf load(const float *p) { return *reinterpret_cast<const vf *>(p); }
static inline void store(float *p, vf x) { *reinterpret_cast<vf *>(p) = x; }

static inline vd widened(vf x, int half) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    const __m512d lanes = (__m512d)x;
    return (vd)_mm512_cvtps_pd((__m256)(half ? _mm512_extractf64x4_pd(lanes, 1) : _mm512_castpd512_pd256(lanes)));
#else
    hf part;
    std::memcpy(&part, reinterpret_cast<const char *>(&x) + half * sizeof part, sizeof part);
    return __builtin_convertvector(part, vd);
#endif
}

// The nearest whole numbers, below 2³¹.
static inline vi rounded(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vi)_mm512_cvtps_epi32((__m512)x);
#elif defined(__AVX2__) && HP_WIDTH == 8
    return (vi)_mm256_cvtps_epi32((__m256)x);
#elif defined(__SSE2__) && HP_WIDTH == 4
    return (vi)_mm_cvtps_epi32((__m128)x);
#else
    vi n;
    for (int i = 0; i < W; ++i) n[i] = (int32_t)std::nearbyint(x[i]);
    return n;
#endif
}

// Sums of the lanes, in pairs of halves: few dependent steps.
static inline double total(vd x) {
    double lanes[QUADS];
    std::memcpy(lanes, &x, sizeof lanes);
    for (int half = QUADS / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

static inline double total(vf x) { return total(widened(x, 0) + widened(x, 1)); }

static inline float total_float(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return _mm512_reduce_add_ps((__m512)x);
#else
    float lanes[W];
    std::memcpy(lanes, &x, sizeof lanes);
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
#endif
}

static inline vf load_anywhere(const float *p) {
    vf x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

static inline void store_anywhere(float *p, vf x) { std::memcpy(p, &x, sizeof x); }

// Past the caches, to where a whole vector is aligned; `after_streams` before another thread may read it.
static inline void stream(float *p, vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    _mm512_stream_ps(p, (__m512)x);
#elif defined(__AVX2__) && HP_WIDTH == 8
    _mm256_stream_ps(p, (__m256)x);
#elif defined(__SSE2__) && HP_WIDTH == 4
    _mm_stream_ps(p, (__m128)x);
#else
    store(p, x);
#endif
}

static inline void after_streams() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

static inline vf magnitude(vf x) { return (vf)((vi)x & 0x7fffffff); }

// a b − c, where there is such an instruction with one rounding: compilers may take the product apart that something else needs too.
static inline vf product_less(vf a, float b, vf c) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vf)_mm512_fmsub_ps((__m512)a, _mm512_set1_ps(b), (__m512)c);
#else
    return a * b - c;
#endif
}

// The greater and the lesser of a number and 0.
static inline vf positive_part(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vf)_mm512_max_ps((__m512)x, _mm512_setzero_ps());
#else
    return x > 0.0f ? x : vf{};
#endif
}

static inline vf negative_part(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vf)_mm512_min_ps((__m512)x, _mm512_setzero_ps());
#else
    return x < 0.0f ? x : vf{};
#endif
}

// The lanes of two neighbouring vectors from the last of the first on, and from the second of the first on. Loads across what has
// just been stored in two pieces would wait until it has left for the cache.
static inline vf one_before(vf before, vf here) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vf)_mm512_alignr_epi32((__m512i)here, (__m512i)before, 15);
#else
    vf x;
    for (int i = 0; i < W; ++i) x[i] = i ? here[i - 1] : before[W - 1];
    return x;
#endif
}

static inline vf one_after(vf here, vf after) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vf)_mm512_alignr_epi32((__m512i)after, (__m512i)here, 1);
#else
    vf x;
    for (int i = 0; i < W; ++i) x[i] = i + 1 < W ? here[i + 1] : after[0];
    return x;
#endif
}

// Low halves of 64-bit lanes times a 32-bit constant: the whole 64-bit product.
static inline vq multiply_low(vq a, uint32_t b) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vq)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__) && HP_WIDTH == 8
    return (vq)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(__SSE2__) && HP_WIDTH == 4
    return (vq)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(b));
#elif defined(__aarch64__) && HP_WIDTH == 4
    return (vq)vmull_u32(vmovn_u64((uint64x2_t)a), vdup_n_u32(b));
#else
    return (a & 0xffffffffu) * b;
#endif
}

static inline vq xor3(vq a, vq b, vq c) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vq)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
#else
    return a ^ b ^ c;
#endif
}

// Low halves of the 64-bit lanes of two vectors, interleaved: a0 b0 a1 b1 …
static inline vu interleave_low(vq a, vq b) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vu)_mm512_mask_shuffle_epi32((__m512i)a, 0xAAAA, (__m512i)b, (_MM_PERM_ENUM)0xA0);
#else
    return (vu)((a & 0xffffffffu) | (b << 32));
#endif
}

static inline vf inverse(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    const vf y = (vf)_mm512_rcp14_ps((__m512)x);
    return y + y * (1.0f - x * y);
#else
    return 1.0f / x;
#endif
}

// 2 a / √x.
static inline vf twice_over_root(vf a, vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    const vf y = (vf)_mm512_rsqrt14_ps((__m512)x);
    return (a * y) * (3.0f - (x * y) * y);
#elif defined(__AVX2__) && HP_WIDTH == 8
    const vf y = (vf)_mm256_rsqrt_ps((__m256)x);
    return (a * y) * (3.0f - (x * y) * y);
#else
    vf y;
    for (int i = 0; i < W; ++i) y[i] = 2.0f / std::sqrt(x[i]);
    return a * y;
#endif
}

// Of numbers greater than 0. The processor's own instruction takes as long as a dozen others.
static inline vf square_root(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    const vf y = (vf)_mm512_rsqrt14_ps((__m512)x), root = x * y;
    return root + (0.5f * root) * (1.0f - root * y);
#elif defined(__AVX2__) && HP_WIDTH == 8
    const vf y = (vf)_mm256_rsqrt_ps((__m256)x), root = x * y;
    return root + (0.5f * root) * (1.0f - root * y);
#else
    vf y;
    for (int i = 0; i < W; ++i) y[i] = std::sqrt(x[i]);
    return y;
#endif
}

// 1 − 2 √x of 0 < x < 1/4.
static inline vf one_less_twice_root(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    // Newton's step for the root, √x ≈ ½ x y (3 − x y²), twice taken.
    const vf y = (vf)_mm512_rsqrt14_ps((__m512)x), root = x * y;
    return 1.0f - root * (3.0f - root * y);
#else
    return 1.0f - 2.0f * square_root(x);
#endif
}

// The bits of a word that a mask names, beside other bits.
static inline vu bits_of(vu word, uint32_t mask, vu others) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vu)_mm512_ternarylogic_epi32((__m512i)word, _mm512_set1_epi32((int)mask), (__m512i)others, 0xEA);
#else
    return (word & mask) | others;
#endif
}

static inline vu bits_of(vu word, uint32_t mask, uint32_t others) { return bits_of(word, mask, vu{} + others); }

// `sum` and what two bytes of a word add, the upper of 16 bits that begin at `shift`, and, if it is a difference, less the lower.
template <bool IS_DIFFERENCE>
static inline vi plus_bytes(vi sum, vu word, int shift) {
#if defined(__AVX512VNNI__) && HP_WIDTH == 16
    const int32_t signs = (int32_t)((IS_DIFFERENCE ? 0x01ffu : 0x0100u) << shift);
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)word, _mm512_set1_epi32(signs));
#else
    const vu both = word >> shift;
    sum += (vi)(both >> 8 & 255u);
    return IS_DIFFERENCE ? sum - (vi)(both & 255u) : sum;
#endif
}

// log2(1 + t) in units of 2^-BITS for −1/4 ≤ t < 1/2: polynomials of least relative error for log2(1 + t) / t, 1.7e-7 and 3e-8.
template <bool is_fine, int BITS>
static inline vf log2_of_mantissa(vf t) {
    constexpr float unit = (float)(1 << BITS);
    vf p;
    if (is_fine) {
        p = all(unit * 0.07806674391031265f);
        p = p * t - unit * 0.17423024773597717f;
        p = p * t + unit * 0.21632486581802368f;
        p = p * t - unit * 0.2427235245704651f;
        p = p * t + unit * 0.2881914973258972f;
        p = p * t - unit * 0.36057591438293457f;
        p = p * t + unit * 0.4809020757675171f;
        p = p * t - unit * 0.7213484644889832f;
        p = p * t + unit * 1.4426950216293335f;
    } else {
        p = all(unit * -0.0958823561668396f);
        p = p * t + unit * 0.2038796991109848f;
        p = p * t - unit * 0.25062817335128784f;
        p = p * t + unit * 0.29009759426116943f;
        p = p * t - unit * 0.3603389263153076f;
        p = p * t + unit * 0.4808468520641327f;
        p = p * t - unit * 0.7213506102561951f;
        p = p * t + unit * 1.4426952600479126f;
    }
    return p * t;
}

// log2 x as the sum of its exponent, in units of 2^-23, and its fraction, in units of 2^-BITS.
struct Split {
    vi exponent;
    vf fraction;
};

// log2 of positive normal numbers.
template <bool is_fine, int BITS>
static inline Split log2_by_polynomial(vf x) {
    const vi bits = (vi)x, exponent = (bits - 0x3f400000) & (int32_t)0xff800000;
    return {exponent, log2_of_mantissa<is_fine, BITS>((vf)(bits - exponent) - 1.0f)};
}

struct Logarithm {
    vf exponent, fraction;  // log2 x is their sum
};

// The same, by other instructions where there are any.
template <bool is_fine>
static inline Logarithm log2_parts(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    const vf t = (vf)_mm512_getmant_ps((__m512)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src) - 1.0f;
    // One more from 1.5 on: this float, the first above 4/3, makes of 1.5 a number from 2 on, and of the float before less than 2.
    const vf exponent = (vf)_mm512_getexp_ps((__m512)(1.33333337306976318359375f * x));
    return {exponent, log2_of_mantissa<is_fine, 0>(t)};
#else
    const Split log = log2_by_polynomial<is_fine, 0>(x);
    return {__builtin_convertvector(log.exponent >> 23, vf), log.fraction};
#endif
}

#if defined(__AVX512F__) && HP_WIDTH == 16
// Of sixteen intervals from 45/64 to 45/32: what their numbers are multiplied by to lie within 1/32 of 1, and −log2 of that.
alignas(64) constexpr float INVERSES[16] = {
    1.39130437f, 1.33333337f, 1.27999997f, 1.23076928f, 1.18518519f, 1.14285719f, 1.10344827f, 1.06666672f, 1.03225803f, 1.0f,
    0.941176474f, 0.888888896f, 0.842105269f, 0.800000012f, 0.761904776f, 0.727272749f,
};
alignas(64) constexpr float LOGARITHMS[16] = {
    -0.476438075f, -0.415037543f, -0.356143773f, -0.299560338f, -0.245112509f, -0.192645147f, -0.142019004f, -0.093109481f,
    -0.0458036475f, 0.0f, 0.087462835f, 0.169924989f, 0.247927502f, 0.321928084f, 0.392317384f, 0.459431589f,
};
#endif

// log2 of positive normal numbers, less exact: with an absolute error of about 1e-7, however small it is itself. Where there is no
// table it is a polynomial's, the finer one's if that is asked for.
template <bool is_fine, int BITS>
static inline Split log2_split(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    constexpr float unit = (float)(1 << BITS);
    const vi bits = (vi)x, shifted = bits - 0x3f340000, exponent = shifted & (int32_t)0xff800000;
    const __m512i interval = _mm512_srli_epi32((__m512i)shifted, 19);  // of which four bits count
    const vf log = (vf)_mm512_permutexvar_ps(interval, (__m512)(unit * load(LOGARITHMS)));
    const __m512 inverse = _mm512_permutexvar_ps(interval, _mm512_load_ps(INVERSES));
    const vf t = (vf)_mm512_fmsub_ps((__m512)(bits - exponent), inverse, _mm512_set1_ps(1.0f));
    // The polynomial of least absolute error, 5.3e-8.
    vf p = all(unit * 0.47994899f);
    p = p * t - unit * 0.72162096f;
    p = p * t + unit * 1.44269544f;
    return {exponent, p * t + log};
#else
    return log2_by_polynomial<is_fine, BITS>(x);
#endif
}

constexpr int FIXED_BITS = 23;  // those below the exponent of a float, which is taken as it lies there

// log2 of positive normal numbers in units of 2^-FIXED_BITS, a whole number of them.
static inline vi log2_fixed(vf x) {
    const Split log = log2_split<true, FIXED_BITS>(x);
    return log.exponent + rounded(log.fraction);
}

// 2^r for |r| ≤ 1/2, relative error before rounding 1.6e-8, or 1.1e-7.
template <bool is_fine>
static inline vf exp2_fraction(vf r) {
    if (!is_fine) {
        vf p = all(0.001326472731307149f);
        p = p * r + 0.009671512991189957f;
        p = p * r + 0.05550733581185341f;
        p = p * r + 0.24022242426872253f;
        p = p * r + 0.6931470036506653f;
        return p * r + 1.0f;
    }
    vf p = all(0.0001534581242594868f);
    p = p * r + 0.0013399930903688073f;
    p = p * r + 0.009618489071726799f;
    p = p * r + 0.05550328642129898f;
    p = p * r + 0.24022646248340607f;
    p = p * r + 0.6931471824645996f;
    return p * r + 1.0f;
}

// x · 2^n for whole n that leave it normal.
static inline vf scaled(vf x, vf n) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vf)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    return (vf)((vi)x + (__builtin_convertvector(n, vi) << 23));
#endif
}

// Nearest whole numbers for |x| < 2^22.
static inline vf nearest(vf x) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return (vf)_mm512_roundscale_ps((__m512)x, 8);
#endif
    const float magic = 12582912.0f;
    return (x + magic) - magic;
}
