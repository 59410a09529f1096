// Maps that have one noise: it is made once for all of a group's maps that a thread takes together.
//
// A sample's weight of cell i of map m is W_mi V_i: base weights of the map alone, and V_i = E_i^(−1/τ) of the noise alone. So the
// samples' sums are those of W with the columns V and V · (c_a + e_a), and the gradient
//     W_mi Σ_s V_si (Σ_a factor_sma (c_ai + e_sai) + constant_sm),
// in which W waits for the end: two products of matrices. Where the released formula has marginals, each map has its own.

constexpr int64_t SUMMED = 4 * FLUSHED;  // cells whose weighted sums are kept in floats
constexpr int64_t ADDED = 512;           // cells whose gradients are added sample by sample: they stay in the nearest cache
// What V is multiplied by in a gradient: where W is small, V / Σ W V can be as large as 1 / W, 10³³ at a temperature of COLD. Slopes of
// 10¹⁴ and of 10⁻²² are near the ends of what floats hold then.
constexpr float SMALL = 0x1p-40f;

// Some maps of a group at work in a thread.
struct Unit {
    Map &m;
    int64_t first, count;
    float *weights, *tails;  // (UNIT, stride) base weights, (UNIT, WIDEST) gradients of the cells beyond the last whole vector
    int64_t stride;
    bool has_law[UNIT];
    Totals totals[UNIT];
    Weighed sums[WAITING][UNIT];
    Slope slopes[WAITING][UNIT];

    Unit(Map &m, int64_t first, int64_t count) : m(m), first(first), count(count), stride(Rows::stride(m.task->row)) {
        weights = m.room.start + Rows::total(m.task->row, longest_axis(*m.call));
        tails = weights + m.task->unit * stride;
    }

    float *gradient(int64_t map) const { return m.call->logits_gradient + (first + map) * m.call->num_cells; }
};

// Where a sample's noise lies: V, and the positions of the cells' sub-samples.
template <int D>
struct Columns {
    const float *power, *position[3];

    Columns(const Map &m, bool is_displaced, int waiting) : power(m.row(ROW_WEIGHTS + waiting)), position{} {
        for (int a = 0; a < D; ++a)
            position[a] = is_displaced ? m.row(ROW_POSITIONS + 3 * waiting + a) : m.centers[a];
    }
};

// Adds the sums of MAPS maps over the cells `from` to `to` to `sums`.
template <int D, int MAPS>
static void add_sums(const Unit &u, int64_t map, const Columns<D> &columns, int64_t from, int64_t to, Weighed *sums) {
    const float *weights = u.weights + map * u.stride;
    const int64_t stride = u.stride;
    vf weight[MAPS]{}, position[MAPS][D]{};
    for (int64_t i = from; i < to; i += W) {
        const vf power = load(columns.power + i);
        vf at[D];
#pragma GCC unroll 3
        for (int a = 0; a < D; ++a) at[a] = load(columns.position[a] + i);
#pragma GCC unroll 4
        for (int k = 0; k < MAPS; ++k) {
            const vf w = load(weights + k * stride + i) * power;
            weight[k] += w;
#pragma GCC unroll 3
            for (int a = 0; a < D; ++a) position[k][a] += w * at[a];
        }
    }
    for (int k = 0; k < MAPS; ++k) {
        sums[map + k].weight += total(weight[k]);
        for (int a = 0; a < D; ++a) sums[map + k].position[a] += total(position[k][a]);
    }
}

// Adds what a sample gives to the gradients of MAPS maps, `gradient` and so on at distances of `stride`, from the cell `from` on.
template <int D, int MAPS>
static void add_slopes(const Slope *slopes, const Columns<D> &columns, int64_t from, int64_t cells, float *gradient,
                       int64_t stride) {
    const float *power = columns.power + from, *position[3]{};
    for (int a = 0; a < D; ++a) position[a] = columns.position[a] + from;
    vf factor[MAPS][D], point[MAPS][D], constant[MAPS];
    for (int k = 0; k < MAPS; ++k) {
        constant[k] = all(slopes[k].constant);
        for (int a = 0; a < D; ++a) {
            factor[k][a] = all(slopes[k].factor[a]);
            point[k][a] = all(slopes[k].point[a]);
        }
    }
    for (int64_t i = 0; i < cells; i += W) {
        const vf v = SMALL * load(power + i);
        vf at[D];
#pragma GCC unroll 3
        for (int a = 0; a < D; ++a) at[a] = load(position[a] + i);
        vf sum[MAPS];
#pragma GCC unroll 4
        for (int k = 0; k < MAPS; ++k) sum[k] = load_anywhere(gradient + k * stride + i);
#pragma GCC unroll 4
        for (int k = 0; k < MAPS; ++k) {
            vf slope = constant[k];
#pragma GCC unroll 3
            for (int a = 0; a < D; ++a) slope += factor[k][a] * (at[a] - point[k][a]);
            sum[k] += v * slope;
        }
#pragma GCC unroll 4
        for (int k = 0; k < MAPS; ++k) store_anywhere(gradient + k * stride + i, sum[k]);
    }
}

// Calls `use(map, number)` for all maps of the unit, `number` of them at a time, which is a constant.
template <class USE>
static inline HP_INLINE void together(const Unit &u, USE use) {
    constexpr int MOST = W == 16 ? TOGETHER : TOGETHER / 2;  // as many as there are registers for
    int64_t k = 0;
    for (; k + MOST <= u.count; k += MOST) use(k, std::integral_constant<int, MOST>{});
    for (; k < u.count; ++k) use(k, std::integral_constant<int, 1>{});
}

template <int D>
static void sum_samples(Unit &u, bool is_displaced, int number) {
    for (int s = 0; s < number; ++s)
        for (int64_t k = 0; k < u.count; ++k) u.sums[s][k] = Weighed{};
    const int64_t row = u.m.task->row;
    for (int64_t from = 0; from < row; from += SUMMED) {
        const int64_t to = from + SUMMED < row ? from + SUMMED : row;
        together(u, [&](int64_t k, auto maps) HP_INLINE {
            for (int s = 0; s < number; ++s)
                add_sums<D, maps.value>(u, k, Columns<D>(u.m, is_displaced, s), from, to, u.sums[s]);
        });
    }
}

template <int D>
static void add_samples(Unit &u, bool is_displaced, int number) {
    const int64_t n = u.m.call->num_cells, whole = n / W * W;
    for (int64_t from = 0; from < whole; from += ADDED) {
        const int64_t cells = from + ADDED < whole ? ADDED : whole - from;
        together(u, [&](int64_t k, auto maps) HP_INLINE {
            for (int s = 0; s < number; ++s)
                add_slopes<D, maps.value>(u.slopes[s] + k, Columns<D>(u.m, is_displaced, s), from, cells,
                                          u.gradient(k) + from, n);
        });
    }
    if (whole == n) return;
    together(u, [&](int64_t k, auto maps) HP_INLINE {
        for (int s = 0; s < number; ++s)
            add_slopes<D, maps.value>(u.slopes[s] + k, Columns<D>(u.m, is_displaced, s), whole, W, u.tails + WIDEST * k, WIDEST);
    });
}

// Adds a sample to all maps, and finds what it gives to their gradients.
static void finish_sample(Unit &u, int64_t sample, const Weighed *sums, const std::array<float, 3> &rest, Slope *slopes) {
    for (int64_t k = 0; k < u.count; ++k) {
        u.m.index = u.first + k;
        slopes[k] = Slope{};
        if (u.has_law[k]) u.totals[k].add(u.m, sample, sums[k], rest, slopes[k]);
    }
}

template <int D>
static void run_by_cells(Unit &u, const Plan &plan, Words &ahead) {
    const Map &m = u.m;
    Rests rests(m);
    for (int64_t first = 0; first < m.call->num_samples; first += plan.at_once) {
        const int64_t left = m.call->num_samples - first;
        const int number = left < plan.at_once ? (int)left : plan.at_once;
        for (int s = 0; s < number; ++s) {
            Moments moments{};  // of V alone, which nobody needs
            weigh_sample<0, Independent>(m, (uint32_t)(first + s), m.row(ROW_WEIGHTS + s), ahead, moments);
            if (plan.is_displaced) displace_sample<D, Independent>(m, (uint32_t)(first + s), s, s, nullptr, moments);
        }
        sum_samples<D>(u, plan.is_displaced, number);
        for (int s = 0; s < number; ++s) finish_sample(u, first + s, u.sums[s], rests.of(first + s), u.slopes[s]);
        if (plan.needs_gradient) add_samples<D>(u, plan.is_displaced, number);
    }
}

// The products of a map's base weights with V.
static void multiply(const float *base, const float *power, int64_t row, float *products) {
    for (int64_t i = 0; i < row; i += W) store(products + i, load(base + i) * load(power + i));
}

template <int D>
static void run_by_axes(Unit &u, const Plan &plan, Words &ahead) {
    Map &m = u.m;
    Axes axes(m, m.row(ROW_AXES));
    Rests rests(m);
    float *power = m.row(ROW_WEIGHTS), *products = m.row(ROW_WEIGHTS + 1);
    for (int64_t sample = 0; sample < m.call->num_samples; ++sample) {
        Moments moments{};  // of V alone, which nobody needs
        weigh_sample<0, Independent>(m, (uint32_t)sample, power, ahead, moments);
        draw_lines<D, Independent>(m, (uint32_t)sample, rests.of(sample), axes);
        for (int64_t k = 0; k < u.count; ++k) {
            if (!u.has_law[k]) continue;
            m.index = u.first + k;
            multiply(u.weights + k * u.stride, power, m.task->row, products);
            sum_by_axes<D>(axes, products);
            Slope slope;
            u.totals[k].add(m, sample, locate_by_axes<D>(axes), NO_REST, slope);
            if (plan.needs_gradient) add_marginal_gradients<D>(axes, products, slope, u.gradient(k));
        }
    }
}

// The gradient of map k is the sum so far, times its base weights and a scale.
static void finish_gradient(const Unit &u, int64_t k) {
    const hp_sampling &call = *u.m.call;
    const int64_t n = call.num_cells, whole = n / W * W;
    const float scale = gradient_scale(call) / SMALL, *__restrict weights = u.weights + k * u.stride;
    float *__restrict out = u.gradient(k);
    std::memcpy(out + whole, u.tails + WIDEST * k, (n - whole) * sizeof(float));
    // A cell that cannot be drawn gets none, however large the sum.
    for (int64_t i = 0; i < n; ++i) out[i] = weights[i] > 0 ? out[i] * (weights[i] * scale) : 0.0f;
}

template <int D>
static void run_unit(Unit &u) {
    Map &m = u.m;
    const hp_sampling &call = *m.call;
    const int64_t row = m.task->row;
    m.index = u.first;
    if (call.points && !m.task->centers) center_cloud<D>(m);
    const Plan plan(m, u.count);
    for (int64_t k = 0; k < u.count; ++k) {
        m.index = u.first + k;
        u.has_law[k] = prepare(m, u.weights + k * u.stride);
        if (!u.has_law[k]) std::memset(u.weights + k * u.stride, 0, row * sizeof(float));
        if (plan.needs_gradient) std::memset(u.gradient(k), 0, call.num_cells * sizeof(float));
    }
    std::memset(u.tails, 0, WIDEST * u.count * sizeof(float));
    float *base = m.row(ROW_BASE);
    for (int64_t i = 0; i < row; ++i) base[i] = i < call.num_cells ? 1.0f : 0.0f;
    Words ahead;
    prepare_noise<Independent>(m, plan, ahead);
    if (plan.by_axes)
        run_by_axes<D>(u, plan, ahead);
    else
        run_by_cells<D>(u, plan, ahead);
    for (int64_t k = 0; k < u.count; ++k) {
        m.index = u.first + k;
        if (!u.has_law[k]) {
            fail_map(m);
            continue;
        }
        u.totals[k].write(m);
        if (!plan.needs_gradient) continue;
        if (plan.by_axes) {
            const float scale = gradient_scale(call);
            float *gradient = u.gradient(k);
            for (int64_t i = 0; i < call.num_cells; ++i) gradient[i] *= scale;
        } else {
            finish_gradient(u, k);
        }
    }
}

static void run_units(Map &m) {
    const Task &task = *m.task;
    const int64_t maps = m.call->maps_per_group, units = m.call->num_maps / maps * task.units_per_group;
    for (;;) {
        const int64_t unit = m.task->next.fetch_add(1, std::memory_order_relaxed);
        if (unit >= units) return;
        const int64_t group = unit / task.units_per_group, start = unit % task.units_per_group * task.unit;
        m.noise = (uint32_t)group;
        Unit u(m, group * maps + start, maps - start < task.unit ? maps - start : task.unit);
        switch (m.call->ndim) {
            case 1: run_unit<1>(u); break;
            case 2: run_unit<2>(u); break;
            default: run_unit<3>(u);
        }
    }
}
