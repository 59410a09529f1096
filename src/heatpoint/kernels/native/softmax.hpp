// Means under the softmax of a map and their gradient; included once per instruction set, after exponent.hpp.
//
// Nothing but the largest logit, the sum of the exponentials and the means is kept for the gradient, which makes the
// exponentials again.

constexpr int MOST_AXES = 3;

struct Sums {
    double weight = 0, place[MOST_AXES] = {};
};

// Sums over the cells of a row and of the rows after it, C coordinates from the columns.
template <int C>
struct RowSums {
    vf weight{}, row{}, place[MOST_AXES]{};

    inline void add(vf e, const float *columns, int64_t stride, int64_t count) {
        row += e;
        for (int a = 0; a < C; ++a) place[a] += e * read_some(columns + a * stride, count, 0);
    }

    inline void end_row(const float *places, int num_places) {
        weight += row;
        for (int a = 0; a < num_places; ++a) place[C + a] += row * places[a];
        row = vf{};
    }

    void flush(Sums &into) {
        into.weight += total(weight);
        for (int a = 0; a < MOST_AXES; ++a) into.place[a] += total(place[a]);
        *this = RowSums{};
    }
};

constexpr int64_t FLUSH = 2048;  // cells whose sums are floats

template <int C>
static void mean(const hp_softmax &call, const float *logits, const float *columns, float *stats) {
    // While exponentials are made memory would rest: the same place of the next map is asked for.
    const int64_t length = call.row_length, num_places = call.ndim - C, ahead = length * call.num_rows;
    const float largest = largest_of(logits, ahead);
    for (int a = 0; a < 2 + call.ndim; ++a) stats[a] = NAN;
    if (std::isnan(largest) || std::isinf(largest)) return;
    const Exponent exponential = exponent_of(call.inverse_temperature, largest);
    Sums sums;
    RowSums<C> row;
    int64_t pending = 0;
    for (int64_t r = 0; r < call.num_rows; ++r) {
        const float *x = logits + r * length, *places = call.row_places + r * num_places;
        int64_t i = 0;
        while (i < length) {
            const int64_t room = FLUSH - pending, stop = length - i < room ? length : i + room;
            const int64_t begun = i;
            for (; i + 4 * W <= stop; i += 4 * W) {
                vf e[4];
                for (int u = 0; u < 4; ++u) e[u] = exponential(load_anywhere(x + i + u * W));
                for (int u = 0; u < 4; ++u) __builtin_prefetch(x + i + u * W + ahead);
                for (int u = 0; u < 4; ++u) row.add(e[u], columns + i + u * W, length, W);
            }
            for (; i < stop; i += W) {
                row.add(exponential(read_some(x + i, length - i)), columns + i, length, length - i);
                __builtin_prefetch(x + i + ahead);
            }
            pending += i - begun;
            if (pending >= FLUSH) {
                row.end_row(places, (int)num_places);
                row.flush(sums);
                pending = 0;
            }
        }
        row.end_row(places, (int)num_places);
    }
    row.flush(sums);
    stats[0] = largest;
    stats[1] = (float)sums.weight;
    for (int a = 0; a < call.ndim; ++a) stats[2 + a] = (float)(sums.place[a] / sums.weight);
}

template <int C>
static void gradient(const hp_softmax &call, int64_t map, const float *logits, const float *columns, float *out) {
    const int64_t length = call.row_length, ndim = call.ndim, num_places = ndim - C;
    const float *stats = call.stats + map * (2 + ndim), *slope = call.slope + map * ndim;
    if (stats[0] != stats[0]) {
        for (int64_t i = 0; i < length * call.num_rows; ++i) out[i] = NAN;
        return;
    }
    const Exponent exponential = exponent_of(call.inverse_temperature, stats[0]);
    float factors[MOST_AXES] = {};
    double constant = call.constant ? call.constant[map] / (double)stats[1] : 0.0;
    for (int a = 0; a < ndim; ++a) {
        const double factor = slope[a] * call.inverse_temperature / stats[1];
        factors[a] = (float)factor;
        constant -= factor * stats[2 + a];
    }
    for (int64_t r = 0; r < call.num_rows; ++r) {
        double of_row = constant;
        for (int a = 0; a < num_places; ++a) of_row += (double)factors[C + a] * call.row_places[r * num_places + a];
        const vf level = all((float)of_row);
        const float *x = logits + r * length;
        float *to = out + r * length;
        int64_t i = 0;
        for (; i + W <= length; i += W) {
            vf value = level;
            for (int a = 0; a < C; ++a) value += factors[a] * load_anywhere(columns + a * length + i);
            store_anywhere(to + i, exponential(load_anywhere(x + i)) * value);
        }
        if (i < length) {
            vf value = level;
            for (int a = 0; a < C; ++a) value += factors[a] * read_some(columns + a * length + i, length - i, 0);
            float lanes[W];
            store_anywhere(lanes, exponential(read_some(x + i, length - i)) * value);
            std::memcpy(to + i, lanes, (size_t)(length - i) * sizeof(float));
        }
    }
}

template <int C>
static void softmax_maps(const hp_softmax &call, int64_t first, int64_t last) {
    const int64_t cells = call.num_rows * call.row_length;
    for (int64_t m = first; m < last; ++m) {
        const float *logits = call.logits + m * cells;
        const float *columns = call.columns + (call.cloud_of_map ? call.cloud_of_map[m] : 0) * C * call.row_length;
        if (call.gradient)
            gradient<C>(call, m, logits, columns, call.gradient + m * cells);
        else
            mean<C>(call, logits, columns, call.stats + m * (2 + call.ndim));
    }
}
