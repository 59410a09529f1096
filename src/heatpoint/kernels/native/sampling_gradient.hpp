// The distance of a sample to the target, and what its slope adds to the map's gradient.

// The distance of a sample to the target, and its slope along each axis.
static double distance_of(const Map &m, const double point[3], double slope[3]) {
    const hp_sampling &call = *m.call;
    const int D = call.ndim;
    double sum = 0;
    for (int a = 0; a < D; ++a) {
        const double delta = point[a] - call.target[m.index * D + a], size = std::fabs(delta);
        const double sign = delta > 0 ? 1 : delta < 0 ? -1 : delta;  // NaN stays
        const double weight = call.axis_weight ? call.axis_weight[m.index * D + a] : 1.0;
        if (call.distance == HP_DISTANCE_L1) {
            sum += weight * size, slope[a] = weight * sign;
        } else if (call.distance == HP_DISTANCE_SMOOTH_L1) {
            sum += weight * (size < 1 ? 0.5 * delta * delta : size - 0.5), slope[a] = weight * (size < 1 ? delta : sign);
        } else if (call.distance == HP_DISTANCE_SQUARED) {
            sum += weight * delta * delta, slope[a] = weight * 2 * delta;
        } else {
            sum += delta * delta, slope[a] = delta;
        }
    }
    if (call.distance != HP_DISTANCE_L2) return sum;
    const double length = std::sqrt(sum);
    for (int a = 0; a < D; ++a) slope[a] = length == 0 ? 0 : slope[a] / length;
    return length;
}

// What a sample adds to the gradient of a cell: weight · (Σ_a factor_a (position_a − point_a) + constant).
struct Slope {
    float factor[3], point[3], constant;
};

// Of COUNT samples, whose weights lie in the rooms from `waiting` on, and their positions, if they are displaced, in those from `at`:
// does `put(i, sum)` with the sums of all samples so far.
template <int D, int COUNT, bool IS_DISPLACED, class PUT>
static inline HP_INLINE void add_gradients(const Map &m, int waiting, int at, const Slope *slopes, PUT put) {
    const float *gradient = m.row(ROW_GRADIENT);
    const float *weights[COUNT], *positions[COUNT][3];
    for (int s = 0; s < COUNT; ++s) {
        weights[s] = m.row(ROW_WEIGHTS + waiting + s);
        for (int a = 0; a < D; ++a) positions[s][a] = IS_DISPLACED ? m.row(ROW_POSITIONS + 3 * (at + s) + a) : m.centers[a];
    }
    for (int64_t i = 0; i < m.task->row; i += W) {
        vf sum = load(gradient + i);
        vf center[3];
        if (!IS_DISPLACED)
            for (int a = 0; a < D; ++a) center[a] = load(m.centers[a] + i);
#pragma GCC unroll 4
        for (int s = 0; s < COUNT; ++s) {
            vf slope = all(slopes[s].constant);
#pragma GCC unroll 3
            for (int a = 0; a < D; ++a) {
                const vf position = IS_DISPLACED ? load(positions[s][a] + i) : center[a];
                slope += slopes[s].factor[a] * (position - slopes[s].point[a]);
            }
            sum += load(weights[s] + i) * slope;
        }
        put(i, sum);
    }
}

template <int D, int COUNT, bool IS_DISPLACED>
static void add_gradients(const Map &m, int waiting, int at, const Slope *slopes) {
    float *gradient = m.row(ROW_GRADIENT);
    add_gradients<D, COUNT, IS_DISPLACED>(m, waiting, at, slopes, [&](int64_t i, vf sum) HP_INLINE { store(gradient + i, sum); });
}
