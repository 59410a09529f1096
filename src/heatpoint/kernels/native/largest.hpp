// The largest cells of a map by the maxima of its blocks; included once per instruction set, after vectors.hpp.
//
// Only few cells are looked at by themselves: those of the block that holds the maximum, or those that reach the k-th largest of
// the maxima of groups, of which at least k cells are not smaller.

template <typename T>
struct Lanes;

template <>
struct Lanes<float> {
    typedef vf V;
    typedef vi M;
    static constexpr int COUNT = W;
};

template <>
struct Lanes<double> {
    typedef vd V;
    typedef vl M;
    static constexpr int COUNT = QUADS;
};

static inline uint32_t bits_of(vi mask) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__) && HP_WIDTH == 8
    return (uint32_t)_mm256_movemask_ps((__m256)mask);
#else
    uint32_t bits = 0;
    for (int i = 0; i < W; ++i) bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

static inline uint32_t bits_of(vl mask) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return _mm512_movepi64_mask((__m512i)mask);
#elif defined(__AVX2__) && HP_WIDTH == 8
    return (uint32_t)_mm256_movemask_pd((__m256d)mask);
#else
    uint32_t bits = 0;
    for (int i = 0; i < QUADS; ++i) bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

template <typename T>
static inline typename Lanes<T>::V read(const T *p) {
    typename Lanes<T>::V x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

template <typename T>
static T largest_lane(typename Lanes<T>::V x) {
    T most = x[0];
    for (int i = 1; i < Lanes<T>::COUNT; ++i) most = x[i] > most ? x[i] : most;
    return most;
}

// Lane by lane the maximum of `count` vectors; true in `is_nan` where one of them is NaN.
template <typename T>
static inline typename Lanes<T>::V maximum(const T *p, int64_t count, typename Lanes<T>::M &is_nan) {
    typedef typename Lanes<T>::V V;
    constexpr int L = Lanes<T>::COUNT;
    V most[2] = {read(p), read(p)};
    is_nan = is_nan | (most[0] != most[0]);
    int64_t v = 1;
    for (; v + 1 < count; v += 2) {
        const V a = read(p + v * L), b = read(p + (v + 1) * L);
        is_nan = is_nan | (a != a) | (b != b);
        most[0] = a > most[0] ? a : most[0];
        most[1] = b > most[1] ? b : most[1];
    }
    for (; v < count; ++v) {
        const V a = read(p + v * L);
        is_nan = is_nan | (a != a);
        most[0] = a > most[0] ? a : most[0];
    }
    return most[0] > most[1] ? most[0] : most[1];
}

// The first of the largest cells of a map; false if it holds a NaN.
template <typename T>
static bool first_largest(const T *map, int64_t num_cells, T &value, int64_t &index) {
    typedef typename Lanes<T>::V V;
    constexpr int L = Lanes<T>::COUNT;
    const int64_t num_vectors = num_cells / L;
    typename Lanes<T>::M is_nan{};
    T best = -INFINITY;
    int64_t block = 0;
    for (int64_t v = 0; v < num_vectors; v += MOST_GROUPED) {
        const int64_t count = num_vectors - v < MOST_GROUPED ? num_vectors - v : MOST_GROUPED;
        const V most = maximum(map + v * L, count, is_nan);
        if (bits_of(most > best)) {
            best = largest_lane<T>(most);
            block = v * L;
        }
    }
    if (num_vectors && bits_of(is_nan)) return false;
    index = block;
    while (index < num_vectors * L && !(map[index] == best)) ++index;
    if (num_vectors == 0) index = 0;
    for (int64_t i = num_vectors * L; i < num_cells; ++i) {
        if (map[i] != map[i]) return false;
        if (map[i] > best) {
            best = map[i];
            index = i;
        }
    }
    value = map[index];
    return true;
}

// The best numbers so far in falling order, equal ones in the order they came in.
template <typename T>
struct Best {
    T values[MOST_INSERTED];
    int64_t places[MOST_INSERTED], wanted, count = 0;

    bool takes(T value) const { return count < wanted || value > values[wanted - 1]; }

    void insert(T value, int64_t place) {
        int64_t at = count < wanted ? count++ : wanted - 1;
        for (; at > 0 && value > values[at - 1]; --at) {
            values[at] = values[at - 1];
            places[at] = places[at - 1];
        }
        values[at] = value;
        places[at] = place;
    }
};

// The `wanted`-th largest of the numbers, −inf if there are fewer.
template <typename T>
static T threshold(const T *numbers, int64_t count, int64_t wanted) {
    Best<T> best;
    best.wanted = wanted;
    for (int64_t i = 0; i < count; i += Lanes<T>::COUNT) {
        const auto x = read(numbers + i);
        const T worst = best.count < wanted ? (T)-INFINITY : best.values[wanted - 1];
        for (uint32_t bits = bits_of(x > worst); bits; bits &= bits - 1) {
            const int lane = __builtin_ctz(bits);
            if (best.takes(x[lane])) best.insert(x[lane], 0);
        }
    }
    return best.count < wanted ? (T)-INFINITY : best.values[wanted - 1];
}

// The k largest cells of a map, k up to MOST_INSERTED; false if it holds a NaN. `maxima` has room for those of its groups.
template <typename T>
static bool insert_largest(const T *map, int64_t num_cells, int64_t k, T *maxima, T *values, int64_t *index) {
    typedef typename Lanes<T>::V V;
    constexpr int L = Lanes<T>::COUNT;
    const int64_t num_vectors = (num_cells + L - 1) / L, full = num_cells / L, length = vectors_of_chunk(num_vectors);
    T tail[L];
    for (int lane = 0; lane < L; ++lane) tail[lane] = full * L + lane < num_cells ? map[full * L + lane] : (T)-INFINITY;
    typename Lanes<T>::M is_nan{};
    int64_t groups = 0;
    for (int64_t v = 0; v < num_vectors; v += length, groups += L) {
        const int64_t last = v + length < full ? v + length : full;
        V most = last > v ? maximum(map + v * L, last - v, is_nan) : read(tail);
        if (v + length > full && full < num_vectors) {
            const V rest = read(tail);
            is_nan = is_nan | (rest != rest);
            most = rest > most ? rest : most;
        }
        std::memcpy(maxima + groups, &most, sizeof most);
    }
    if (bits_of(is_nan)) return false;
    Best<T> best;
    best.wanted = k;
    const T least = threshold(maxima, groups, k);
    for (int64_t v = 0, group = 0; v < num_vectors; v += length, group += L) {
        if (!bits_of(read(maxima + group) >= least)) continue;
        for (int64_t u = v; u < v + length && u < num_vectors; ++u) {
            const V x = u < full ? read(map + u * L) : read(tail);
            const T worst = best.count < k ? least : best.values[k - 1];
            for (uint32_t bits = bits_of(x >= worst); bits; bits &= bits - 1) {
                const int64_t cell = u * L + __builtin_ctz(bits);
                if (cell < num_cells && best.takes(map[cell])) best.insert(map[cell], cell);
            }
        }
    }
    std::memcpy(values, best.values, (size_t)k * sizeof(T));
    std::memcpy(index, best.places, (size_t)k * sizeof(int64_t));
    return true;
}

template <typename T>
static void largest_cells(const hp_largest &call, int64_t first, int64_t last, T *room) {
    const int64_t n = call.num_cells, k = call.num_largest;
    for (int64_t m = first; m < last; ++m) {
        const T *map = static_cast<const T *>(call.maps) + m * n;
        T *values = static_cast<T *>(call.values) + m * k;
        int64_t *index = call.index + m * k;
        const bool found = k == 1               ? first_largest(map, n, *values, *index)
                           : k <= MOST_INSERTED ? insert_largest(map, n, k, room, values, index)
                                                : false;
        if (!found) sort_cells(map, n, k, values, index);
    }
}
