// One map at work in a thread: its room, its base weights, and sums over its cells.

enum Power { GENERAL, INVERSE_ROOT, INVERSE, INVERSE_SQUARE, LOGARITHMIC };

struct Map {
    Task *task;
    hp_sampling *call;
    Rows room;
    Keys keys;
    int64_t index;
    uint32_t noise;  // whose noise it has: its own index, or its group's
    const float *centers[3];
    double middle[3];
    Power power;
    float exponent;  // 1/τ
    // Below COLD: weights of distances between scores, in units of 2^-FIXED_BITS, and one whose weight is below 2^FLUSHED_BITS.
    Exponent cold;
    int32_t least_distance;

    float *row(int number) const { return room.row(number); }
};

// Weighted sums over the cells.
struct Weighed {
    double weight, position[3];
};

// The same, and lanes that are still to be summed. That takes many dependent steps, so it is left until the next samples' work can
// go on beside it.
struct Moments : Weighed {
    vf lanes[4];

    template <int D>
    void settle() {
        weight += total(lanes[0]);
        for (int a = 0; a < D; ++a) position[a] += total(lanes[1 + a]);
    }
};

constexpr int64_t FLUSHED = 8 * BLOCK;  // quads between two flushes

// Sums of a few thousand floats, then doubles.
template <int D>
struct Sums {
    vf weight{}, position[D + 1]{};

    // After the W quads from `quad` on.
    inline HP_INLINE void flush_at_times(int64_t quad, Moments &into) {
        if ((quad + W) % FLUSHED) return;
        into.weight += total(weight);
        for (int a = 0; a < D; ++a) into.position[a] += total(position[a]);
        *this = Sums{};
    }

    void leave(Moments &into) const {
        into.lanes[0] = weight;
        leave_positions(into);
    }

    void leave_positions(Moments &into) const {
        for (int a = 0; a < D; ++a) into.lanes[1 + a] = position[a];
    }
};

constexpr double LEAST_BITS = -100;       // of a base weight, or of a cold one that is masked: another counts as 0
constexpr double FLUSHED_BITS = -126.75;  // of a weight: less than a normal number has, by more than roundings

// τ log2 of a base weight, at least. Where it would be less no noise makes a sample's weight count, at no temperature below COLD:
// log2 E lies between −24 and 5.
constexpr double LEAST_SCORE = -64;

// τ log2 of base weights, log2 p or τ log2 p less the largest, in units of 2^-FIXED_BITS.
static void prepare_scores(const Map &m, float largest, int32_t *scores) {
    const hp_sampling &call = *m.call;
    const int64_t n = call.num_cells, row = m.task->row;
    const float *logits = call.logits + m.index * n;
    const double unit = 1 << FIXED_BITS, magic = 0x1.8p52;
    const double factor = (call.formula == HP_FORMULA_PAPER ? 1.0 : call.temperature) * LOG2_E * unit;
    for (int64_t i = 0; i < row; i += W) {
        const vf x = read_some(logits + i, n - i);
        for (int half = 0; half < 2; ++half) {
            vd score = (widened(x, half) - (double)largest) * factor;
            score = score > LEAST_SCORE * unit ? score : vd{} + LEAST_SCORE * unit;
            const hi whole = __builtin_convertvector((score + magic) - magic, hi);
            std::memcpy(scores + i + half * QUADS, &whole, sizeof whole);
        }
    }
}

// Base weights p^(1/τ) or p, 1 in the largest cell, into `base`, or those scores; false if the map has none: result NaN.
static bool prepare(const Map &m, float *base) {
    hp_sampling &call = *m.call;
    const int64_t n = call.num_cells, row = m.task->row;
    const float *logits = call.logits + m.index * n;
    const float largest = largest_of(logits, n);
    if (std::isnan(largest) || largest == INFINITY) {
        m.task->num_undefined.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    if (largest == -INFINITY) {
        m.task->num_forbidden.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    if (m.power == LOGARITHMIC) {
        prepare_scores(m, largest, reinterpret_cast<int32_t *>(base));
        return true;
    }
    const double factor = call.formula == HP_FORMULA_PAPER ? 1 / call.temperature : 1.0;
    const Exponent exponential = exponent_of(factor, largest, LEAST_BITS);
    for (int64_t i = 0; i < row; i += W) store(base + i, exponential(read_some(logits + i, n - i)));
    return true;
}
