// The largest cells of a map by the maxima of its blocks; included once per instruction set, after exponent.hpp.
//
// Only few cells are looked at by themselves: those of the block that holds the maximum, or those that reach the k-th largest of
// the maxima of groups, of which at least k cells are not smaller.

template <typename T>
struct Lanes;

template <>
struct Lanes<float> {
    typedef vf V;
    typedef vi M;
    typedef int32_t Number;
    static constexpr int COUNT = W;
};

template <>
struct Lanes<double> {
    typedef vd V;
    typedef vl M;
    typedef int64_t Number;
    static constexpr int COUNT = QUADS;
};

// One bit per lane of a comparison of vectors of T.
template <typename T, typename M>
static inline uint32_t lane_bits(M mask) {
#if defined(__AVX512F__) && HP_WIDTH == 16
    return sizeof(T) == 4 ? _mm512_movepi32_mask((__m512i)mask) : _mm512_movepi64_mask((__m512i)mask);
#elif defined(__AVX2__) && HP_WIDTH == 8
    return (uint32_t)(sizeof(T) == 4 ? _mm256_movemask_ps((__m256)mask) : _mm256_movemask_pd((__m256d)mask));
#else
    uint32_t bits = 0;
    for (int i = 0; i < Lanes<T>::COUNT; ++i) bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

// Whether one of the numbers that were looked at is NaN.
template <typename T>
class Unordered {
    typedef typename Lanes<T>::V V;

  public:
#if defined(__AVX512F__) && HP_WIDTH == 16
    // One comparison tells it of both, and its bits stay where comparisons put them.
    inline void look_at(V a, V b) {
        seen = _mm512_kor(seen, sizeof(T) == 4 ? _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q)
                                               : _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_UNORD_Q));
    }

    inline bool any() const { return seen; }

  private:
    __mmask16 seen = 0;
#else
    inline void look_at(V a, V b) { seen |= (a != a) | (b != b); }

    inline bool any() const { return lane_bits<T>(seen); }

  private:
    typename Lanes<T>::M seen{};
#endif
};

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

// Lane by lane the maximum of so many vectors, its loop unrolled.
template <int64_t COUNT, typename T>
static inline typename Lanes<T>::V maximum_of(const T *p, Unordered<T> &unordered) {
    typedef typename Lanes<T>::V V;
    constexpr int L = Lanes<T>::COUNT;
    static_assert(COUNT >= 2 && COUNT % 2 == 0, "vectors are taken by twos");
    V first = read(p), second = read(p + L);
    unordered.look_at(first, second);
#pragma GCC unroll 8
    for (int64_t v = 2; v < COUNT; v += 2) {
        const V a = read(p + v * L), b = read(p + (v + 1) * L);
        unordered.look_at(a, b);
        first = a > first ? a : first;
        second = b > second ? b : second;
    }
    return first > second ? first : second;
}

// Lane by lane the maximum of `count` vectors.
template <typename T>
static inline typename Lanes<T>::V maximum(const T *p, int64_t count, Unordered<T> &unordered) {
    typedef typename Lanes<T>::V V;
    if (count == STRETCH) return maximum_of<STRETCH>(p, unordered);
    if (count == MOST_GROUPED) return maximum_of<MOST_GROUPED>(p, unordered);
    if (count == 6) return maximum_of<6>(p, unordered);  // a chunk of 64 x 48 cells, in vectors of 16
    V most = read(p);
    if (count % 2) unordered.look_at(most, most);
    for (int64_t v = count % 2; v < count; v += 2) {
        const V two = maximum_of<2>(p + v * Lanes<T>::COUNT, unordered);
        most = two > most ? two : most;
    }
    return most;
}

// The first of the largest cells of a map; false if it holds a NaN.
template <typename T>
static bool first_largest(const T *map, int64_t num_cells, T &value, int64_t &index) {
    typedef typename Lanes<T>::V V;
    constexpr int L = Lanes<T>::COUNT;
    const int64_t num_vectors = num_cells / L;
    Unordered<T> unordered;
    T best = -INFINITY;
    int64_t block = 0;
    for (int64_t v = 0; v < num_vectors; v += STRETCH) {
        const int64_t count = num_vectors - v < STRETCH ? num_vectors - v : STRETCH;
        const V most = maximum(map + v * L, count, unordered);
        if (lane_bits<T>(most > best)) {
            best = largest_lane<T>(most);
            block = v * L;
        }
    }
    if (unordered.any()) return false;
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

// The k-th largest of at least k numbers, none of them NaN. Writes -inf behind them, a vector of it.
template <typename T>
static T kth_of(T *numbers, int64_t count, int64_t k) {
    typedef typename Lanes<T>::V V;
    typedef typename Lanes<T>::M M;
    const V none = V{} - INFINITY;
    std::memcpy(numbers + count, &none, sizeof none);
    // The least of those that fewer than k exceed.
    V least = V{} + INFINITY;
    for (int64_t i = 0; i < count; i += Lanes<T>::COUNT) {
        const V x = read(numbers + i);
        M exceeding{};
        for (int64_t j = 0; j < count; ++j) exceeding -= numbers[j] > x;
        const V wanted = exceeding < (typename Lanes<T>::Number)k ? x : least;
        least = wanted < least ? wanted : least;
    }
    return -largest_lane<T>(-least);
}

// Keeps the largest of the numbers it is given, of equal ones those that came first. What may be among them is collected, and
// ranked when the room is full and at the end: a rank is how many go before, which needs no branches.
template <typename T>
class Keeper {
    typedef typename Lanes<T>::V V;
    typedef typename Lanes<T>::M M;
    static constexpr int L = Lanes<T>::COUNT;
    static constexpr int64_t ROOM = 2 * MOST_KEPT + 2 * L;

  public:
    // Numbers below `least` are none of the largest.
    Keeper(int64_t wanted, T least) : wanted(wanted), least(least) {}

    // Takes the lanes of x whose bits are set in `exists`; lane 0 is at `place`.
    inline void add(V x, int64_t place, uint32_t exists = ~(uint32_t)0) {
        uint32_t bits = (is_above ? lane_bits<T>(x > least) : lane_bits<T>(x >= least)) & exists;
        if (!bits) return;
        for (; bits; bits &= bits - 1, ++count) {
            const int lane = __builtin_ctz(bits);
            values[count] = x[lane];
            places[count] = place + lane;
        }
        if (count > limit()) sort();
    }

    // Puts what was kept in order; what is no longer wanted is lost.
    void sort() {
        const V none{};
        std::memcpy(values + count, &none, sizeof none);
        T sorted[ROOM];
        int64_t at[ROOM];
        for (int64_t i = 0; i < count; i += L) {
            const V x = read(values + i);
            M rank{};
            int64_t j = 0;
            for (; j < i; ++j) rank -= values[j] >= x;
            for (; j < i + L && j < count; ++j) {
                const M is_later = numbered() > (typename Lanes<T>::Number)(j - i);
                rank -= (values[j] > x) | ((values[j] == x) & is_later);
            }
            for (; j < count; ++j) rank -= values[j] > x;
            for (int64_t lane = 0; lane < L && i + lane < count; ++lane) {
                sorted[rank[lane]] = values[i + lane];
                at[rank[lane]] = places[i + lane];
            }
        }
        if (count > wanted) count = wanted;
        std::memcpy(values, sorted, (size_t)count * sizeof(T));
        std::memcpy(places, at, (size_t)count * sizeof(int64_t));
        if (count < wanted) return;
        least = values[wanted - 1];
        is_above = true;
    }

    int64_t wanted, count = 0;
    T least, values[ROOM];
    int64_t places[ROOM];

  private:
    bool is_above = false;  // a further number must exceed `least`, since those that equal it came first

    int64_t limit() const { return 2 * wanted > L ? 2 * wanted : L; }

    static M numbered() {
        M lanes;
        for (int i = 0; i < L; ++i) lanes[i] = (typename Lanes<T>::Number)i;
        return lanes;
    }
};

// The k-th largest of vectors of numbers that reach `least`; `least` if there are fewer.
template <typename T>
static T kth_largest(const T *numbers, int64_t count, int64_t k, T least) {
    Keeper<T> best(k, least);
    for (int64_t i = 0; i < count; i += Lanes<T>::COUNT) best.add(read(numbers + i), i);
    return best.count < k ? least : kth_of(best.values, best.count, k);
}

// Asks memory for numbers: those of the next map while this one is worked on, in even parts, for it can only be asked for so much.
template <typename T>
static inline void ask_for(const T *numbers, int64_t count) {
    for (int64_t i = 0; i < count; i += 64 / (int64_t)sizeof(T)) __builtin_prefetch(numbers + i, 0, 2);
}

// The k largest cells of a map, k up to MOST_KEPT; false if it holds a NaN. `maxima` has room for those of its groups.
template <typename T>
static bool keep_largest(const T *map, int64_t num_cells, int64_t k, T *maxima, T *values, int64_t *index) {
    typedef typename Lanes<T>::V V;
    constexpr int L = Lanes<T>::COUNT;
    const int64_t num_vectors = (num_cells + L - 1) / L, full = num_cells / L, length = vectors_of_chunk(num_vectors);
    T lanes[2 * L];  // with room for what kth_of writes
    for (int lane = 0; lane < L; ++lane) lanes[lane] = full * L + lane < num_cells ? map[full * L + lane] : (T)-INFINITY;
    const V tail = read(lanes);
    Unordered<T> unordered;
    unordered.look_at(tail, tail);
    int64_t groups = 0;
    V of_all = tail;
    for (int64_t v = 0; v < num_vectors; v += length, groups += L) {
        const int64_t last = v + length < full ? v + length : full;
        ask_for(map + num_cells + v * L, length * L / 2);
        V most = last > v ? maximum(map + v * L, last - v, unordered) : tail;
        if (v + length > full) most = tail > most ? tail : most;
        of_all = most > of_all ? most : of_all;
        std::memcpy(maxima + groups, &most, sizeof most);
    }
    if (unordered.any()) return false;
    // Each lane's maximum is a cell, and so is each group's: the k-th largest of either is at most that of the cells.
    T least = -INFINITY;
    if (k <= L) {
        std::memcpy(lanes, &of_all, sizeof of_all);
        least = kth_of(lanes, L, k);
    }
    least = kth_largest(maxima, groups, k, least);
    Keeper<T> best(k, least);
    for (int64_t v = 0, group = 0; v < num_vectors; v += length, group += L) {
        ask_for(map + num_cells + v * L + length * L / 2, length * L / 2);
        if (!lane_bits<T>(read(maxima + group) >= best.least)) continue;
        const int64_t last = v + length < full ? v + length : full;
        for (int64_t u = v; u < last; ++u) best.add(read(map + u * L), u * L);
        if (v + length > full) best.add(tail, full * L, ((uint32_t)1 << (num_cells - full * L)) - 1);
    }
    best.sort();
    std::memcpy(values, best.values, (size_t)k * sizeof(T));
    std::memcpy(index, best.places, (size_t)k * sizeof(int64_t));
    return true;
}

// The mean cell of the k largest under their softmax; NaN where the map has none.
static void weigh(const hp_largest &call, const float *values, const int64_t *index, float *cells) {
    const int64_t k = call.num_largest;
    for (int a = 0; a < call.ndim; ++a) cells[a] = NAN;
    if (!std::isfinite(values[0])) return;
    const Exponent exponential = exponent_of(1.0, values[0]);
    float shares[MOST_KEPT];
    for (int64_t i = 0; i < k; i += W) store_anywhere(shares + i, exponential(read_some(values + i, k - i)));
    // Whole vectors of them: the first cell stands in for those that are none, and weighs nothing.
    double weights[MOST_KEPT], places[MOST_KEPT];
    for (int64_t i = 0; i < (k + QUADS - 1) / QUADS * QUADS; ++i) {
        weights[i] = shares[i];
        places[i] = (double)index[i < k ? i : 0];
    }
    vd sum{}, steps[3] = {};
    double origin[3] = {};
    for (int64_t i = 0; i < k; i += QUADS) {
        const vd weight = read(weights + i);
        vd rest = read(places + i);
        sum += weight;
        for (int a = 0; a < call.ndim; ++a) {
            // Exact for maps of at most EXACT cells: a quotient that is not whole is never rounded to the next whole number.
            const double length = (double)call.lengths[a];
            vd next{};
            if (a + 1 < call.ndim) next = __builtin_convertvector(__builtin_convertvector(rest / length, vl), vd);
            const vd cell = rest - next * length;
            if (i == 0) origin[a] = cell[0];
            steps[a] += weight * (cell - origin[a]);
            rest = next;
        }
    }
    for (int a = 0; a < call.ndim; ++a) cells[a] = (float)(origin[a] + total(steps[a]) / total(sum));
}

template <typename T>
static void largest_cells(const hp_largest &call, int64_t first, int64_t last, T *room) {
    const int64_t n = call.num_cells, k = call.num_largest;
    for (int64_t m = first; m < last; ++m) {
        const T *map = static_cast<const T *>(call.maps) + m * n;
        T *values = static_cast<T *>(call.values) + m * k;
        int64_t *index = call.index + m * k;
        const bool found = k == 1               ? first_largest(map, n, *values, *index)
                           : k <= MOST_KEPT ? keep_largest(map, n, k, room, values, index)
                                                : false;
        if (!found) sort_cells(map, n, k, values, index);
        if (call.cells) weigh(call, static_cast<float *>(call.values) + m * k, index, call.cells + m * call.ndim);
    }
}
