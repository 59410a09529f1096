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

// The next W of a map's logits, −inf beyond the last.
static inline HP_INLINE vf load_logits(const float *logits, int64_t i, int64_t n) {
    if (i + W <= n) return load_anywhere(logits + i);
    vf x = all(-INFINITY);
    if (i < n) std::memcpy(&x, logits + i, (n - i) * sizeof(float));
    return x;
}

// Base weights p^(1/τ) or p, 1 in the largest cell, into `base`; false if the map has none: result NaN.
static bool prepare(const Map &m, float *base) {
    hp_sampling &call = *m.call;
    const int64_t n = call.num_cells, row = m.task->row;
    const float *logits = call.logits + m.index * n;
    vf most = all(-INFINITY);
    vi is_nan{};
    for (int64_t i = 0; i < n; i += W) {
        const vf x = load_logits(logits, i, n);
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
    // In doubles: of large logits floats would lose the rest that the whole bits leave.
    const double iwholes = 1.4426950408889634 * (call.formula == HP_FORMULA_PAPER ? 1 / call.temperature : 1.0);
    const double top = largest, magic = 6755399441055744.0;
    double *log_base = reinterpret_cast<double *>(m.row(ROW_LOG_BASE));
    for (int64_t i = 0; i < row; i += W) {
        const vf x = load_logits(logits, i, n);
        vd bits[2], whole[2];
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) bits[half] = (widened(x, half) - top) * iwholes;
        if (m.power == LOGARITHMIC) {
            for (int half = 0; half < 2; ++half) *reinterpret_cast<vd *>(log_base + i + half * QUADS) = bits[half];
            continue;
        }
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
            bits[half] = bits[half] < -200.0 ? vd{} - 200.0 : bits[half];
            whole[half] = (bits[half] + magic) - magic;
        }
        const vf wholes = narrowed(whole[0], whole[1]), rest = narrowed(bits[0] - whole[0], bits[1] - whole[1]);
        const vf weight = scaled(exp2_fraction<true>(rest), wholes);
        store(base + i, wholes > -100.0f ? weight : vf{});
    }
    return true;
}
