// The largest of a row's numbers, and exponentials of their distances to it; included once per instruction set, after vectors.hpp.

constexpr double LOG2_E = 1.4426950408889634;

struct Exponent {
    float largest, high, low, least;

    // exp((x − largest) / temperature): the exponent in bits as the sum of a whole number and a rest, so that few of its digits are
    // lost, none where products are not rounded before the difference. The factor is split in two for the same reason. Exactly 0
    // where x − largest ≤ least, as for −inf.
    inline vf operator()(vf x) const { return at<true>(x - largest); }

    // The same of a distance x − largest. If not fine, the factor keeps its rounding, so that 2^−b is wrong by about b 2^−25 of
    // itself, and the polynomial is the shorter one.
    template <bool is_fine>
    inline vf at(vf d) const {
        const vi counts = d > least;
        return (vf)((vi)unmasked<is_fine>(counts ? d : all(least)) & counts);
    }

    // The same of distances that are not so large that the result is no normal number, or where such results are flushed to 0.
    template <bool is_fine>
    inline vf unmasked(vf d) const {
        const vf whole = nearest(d * high);
        vf rest = product_less(d, high, whole);
        if (is_fine) rest = d * low + rest;
        return scaled(exp2_fraction<is_fine>(rest), whole);
    }
};

// Results of 2^least_bits or less, which must be a normal number, are 0.
static Exponent exponent_of(double inverse_temperature, float largest, double least_bits = -125) {
    const double bits = inverse_temperature * LOG2_E;
    const float high = (float)bits;
    return {largest, high, (float)(bits - high), (float)(least_bits / bits)};
}

// The next W numbers of a row, of which `count` are left; `beyond` after the last.
static inline vf read_some(const float *p, int64_t count, float beyond = -INFINITY) {
    if (count >= W) return load_anywhere(p);
    vf x = all(beyond);
    if (count > 0) std::memcpy(&x, p, count * sizeof(float));
    return x;
}

// The largest of n numbers; NaN if there is one.
static float largest_of(const float *p, int64_t n) {
    vf most[4] = {all(-INFINITY), all(-INFINITY), all(-INFINITY), all(-INFINITY)};
    vi is_nan[2] = {};
    int64_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W)
        for (int u = 0; u < 4; ++u) {
            const vf x = load_anywhere(p + i + u * W);
            is_nan[u % 2] |= x != x;
            most[u] = x > most[u] ? x : most[u];
        }
    for (; i < n; i += W) {
        const vf x = read_some(p + i, n - i);
        is_nan[0] |= x != x;
        most[0] = x > most[0] ? x : most[0];
    }
    float largest = -INFINITY;
    bool undefined = false;
    for (int lane = 0; lane < W; ++lane) {
        for (int u = 0; u < 4; ++u) largest = most[u][lane] > largest ? most[u][lane] : largest;
        undefined |= (is_nan[0][lane] | is_nan[1][lane]) != 0;
    }
    return undefined ? NAN : largest;
}
