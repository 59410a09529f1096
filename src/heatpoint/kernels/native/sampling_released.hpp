// The released formula: one marginal per axis, one offset per position of an axis; position j of the axis moves the sample by
// `slope[j]` per unit of its marginal. Before the first position and from the last to the next whole block, marginal, noise and
// share are 0.
struct Axis {
    int64_t length;
    float *marginal = nullptr, *slope = nullptr, *share = nullptr, *place = nullptr, *noise = nullptr;  // null without such an axis
    double mean;  // what normalising the weights takes off every slope

    double locate(const hp_sampling &call, int axis, double middle, double weight);

  private:
    double plain(double weight);
    void find_triangular_slopes(float center, float scale);
};

// The marginal itself counts.
double Axis::plain(double weight) {
    const float unit = (float)(1 / weight);
    vf sum{};
    for (int64_t j = 0; j < padded(length); j += W) {
        const vf at = load_anywhere(place + j);
        store_anywhere(slope + j, unit * at);
        sum += load_anywhere(marginal + j) * at;
    }
    const double located = total(sum) / weight;
    mean = located / weight;
    return located;
}

// A position has its own share of its marginal, and those that the offsets of its neighbours take of it.
void Axis::find_triangular_slopes(float center, float scale) {
    for (int64_t j = 0; j < padded(length); j += W) {
        const vf e = load_anywhere(noise + j), size = e < 0.0f ? -e : e;
        const vf before = load_anywhere(noise + j - 1), after = load_anywhere(noise + j + 1);
        const vf here = load_anywhere(place + j) - center;
        const vf left = load_anywhere(place + j - 1) - center, right = load_anywhere(place + j + 1) - center;
        const vf change = (1.0f - size) * here + (before > 0.0f ? before : vf{}) * left - (after < 0.0f ? after : vf{}) * right;
        store_anywhere(slope + j, scale * change);
    }
}

// The point along this axis, of a marginal whose sum is `weight`.
double Axis::locate(const hp_sampling &call, int axis, double middle, double weight) {
    const int64_t end = padded(length);
    const float stride = (float)call.strides[axis], origin = (float)(call.offsets[axis] - middle);
    const bool is_gaussian = call.basis == HP_BASIS_GAUSSIAN, is_triangular = call.basis == HP_BASIS_TRIANGULAR;
    const float unit = stride * (is_gaussian ? (float)call.sigma : 1.0f);
    vf cell, weights{}, sums{};
    for (int i = 0; i < W; ++i) cell[i] = i;
    vf before{}, here = load_anywhere(marginal);
    for (int64_t j = 0; j < end; j += W) {
        const vf after = load_anywhere(marginal + j + W);
        const vf e = load_anywhere(noise + j), at = origin + stride * (cell + (float)j) + unit * e;
        store_anywhere(place + j, at);
        vf q = load_anywhere(share + j) * here;
        if (is_triangular) {
            // Offsets lie in (−1, 1): the marginal is interpolated between a position and one of its neighbours.
            const vf size = e < 0.0f ? -e : e;
            const vf neighbor = e < 0.0f ? one_before(before, here) : one_after(here, after);
            q = (1.0f - size) * here + size * neighbor;
        }
        before = here;
        here = after;
        weights += q;
        sums += q * at;
    }
    const double weighed = total(weights);
    if (!(weighed > 0)) return plain(weight);
    const double located = total(sums) / weighed;
    const float center = (float)located, scale = (float)(1 / weighed);
    mean = 0;
    if (is_triangular) return find_triangular_slopes(center, scale), located;
    for (int64_t j = 0; j < end; j += W)
        store_anywhere(slope + j, scale * (load_anywhere(share + j) * (load_anywhere(place + j) - center)));
    return located;
}

template <int BASIS, int D, class STREAM>
static void draw_axes(const Map &m, uint32_t sample, int64_t longest, float *const noise[3]) {
    const Offsets<BASIS, D, STREAM> offsets(m, sample);
    Halves halves;
    in_turn(
        padded(longest) / 4, [&](uint32_t quad, Words &words) HP_INLINE { offsets.words(quad, words, halves); },
        [&](int64_t quad, const Words &words) HP_INLINE {
            offsets.each(words, [&](int k, const vf offset[3]) HP_INLINE {
                for (int a = 0; a < D; ++a) store_anywhere(noise[a] + first_cell(quad) + 16 * k, offset[a]);
            });
        });
}

// Room of the released formula.
struct Axes {
    Axis axis[3];
    float *noise[3], *plane, *line;
    double *sums[2];

    void arrange(const hp_sampling &call, float *room) {
        const int64_t longest = padded(longest_axis(call)), margin = 16;
        for (int a = 0; a < 3; ++a) axis[a].length = call.lengths[a];
        for (int a = 0; a < call.ndim; ++a) {
            for (float **row : {&axis[a].marginal, &axis[a].slope, &axis[a].share, &axis[a].place, &axis[a].noise}) {
                std::memset(room, 0, (longest + 2 * margin) * sizeof(float));
                *row = room + margin;
                room += longest + 2 * margin;
            }
            noise[a] = axis[a].noise;
        }
        for (double **row : {&sums[0], &sums[1]}) {
            *row = reinterpret_cast<double *>(room);
            room += 2 * longest;
        }
        plane = room;
        line = plane + longest;
    }
};

// Sums of the weights over all axes but one, of weights whose sum is `whole`.
static void marginalise(Axes &axes, const float *__restrict weights, double whole) {
    const int64_t width = axes.axis[0].length, height = axes.axis[1].length, depth = axes.axis[2].length;
    float *mx = axes.axis[0].marginal, *my = axes.axis[1].marginal, *mz = axes.axis[2].marginal;
    if (height * depth == 1) {
        std::memcpy(mx, weights, width * sizeof(float));
        if (my) my[0] = (float)whole;
        if (mz) mz[0] = (float)whole;
        return;
    }
    double *columns = axes.sums[0], *rows = axes.sums[1];
    float *__restrict plane = axes.plane;
    std::memset(columns, 0, width * sizeof(double));
    std::memset(rows, 0, height * sizeof(double));
    for (int64_t z = 0; z < depth; ++z) {
        double layer = 0;
        for (int64_t x = 0; x < width; ++x) plane[x] = 0;
        for (int64_t y = 0; y < height; ++y, weights += width) {
            vf lanes{};
            float rest = 0;
            int64_t x = 0;
            for (; x + W <= width; x += W) {
                const vf w = load_anywhere(weights + x);
                store(plane + x, load(plane + x) + w);
                lanes += w;
            }
            for (; x < width; ++x) {
                plane[x] += weights[x];
                rest += weights[x];
            }
            const double sum = total_float(lanes) + rest;
            rows[y] += sum;
            layer += sum;
        }
        for (int64_t x = 0; x < width; ++x) columns[x] += plane[x];
        if (mz) mz[z] = (float)layer;
    }
    for (int64_t x = 0; x < width; ++x) mx[x] = (float)columns[x];
    for (int64_t y = 0; y < height; ++y) my[y] = (float)rows[y];
}

static void add_marginal_gradients(const Map &m, Axes &axes, const float *__restrict weights, const Slope &slope,
                                   float *__restrict gradient) {
    const int64_t width = axes.axis[0].length, height = axes.axis[1].length, depth = axes.axis[2].length;
    const int D = m.call->ndim;
    float *__restrict line = axes.line;
    double mean = 0;
    for (int a = 0; a < D; ++a) mean += slope.factor[a] * axes.axis[a].mean;
    for (int64_t x = 0; x < width; ++x) line[x] = (float)(slope.factor[0] * axes.axis[0].slope[x]);
    for (int64_t z = 0; z < depth; ++z) {
        for (int64_t y = 0; y < height; ++y, weights += width, gradient += width) {
            double rest = -mean;
            if (D > 1) rest += slope.factor[1] * axes.axis[1].slope[y];
            if (D > 2) rest += slope.factor[2] * axes.axis[2].slope[z];
            const float constant = (float)rest;
            for (int64_t x = 0; x < width; ++x) gradient[x] += weights[x] * (line[x] + constant);
        }
    }
}

// Offsets of a sample along the axes, and what they make of the marginals whatever those are.
template <int D, class STREAM>
static void draw_lines(const Map &m, uint32_t sample, Axes &axes) {
    const hp_sampling &call = *m.call;
    const int64_t longest = longest_axis(call);
    if (call.basis == HP_BASIS_UNIFORM) draw_axes<HP_BASIS_UNIFORM, D, STREAM>(m, sample, longest, axes.noise);
    if (call.basis == HP_BASIS_TRIANGULAR) draw_axes<HP_BASIS_TRIANGULAR, D, STREAM>(m, sample, longest, axes.noise);
    if (call.basis == HP_BASIS_GAUSSIAN) draw_axes<HP_BASIS_GAUSSIAN, D, STREAM>(m, sample, longest, axes.noise);
    // Only whole blocks are drawn; what lies beyond an axis belongs to no position.
    for (int a = 0; a < D; ++a)
        for (int64_t j = call.lengths[a]; j < padded(longest); ++j) axes.noise[a][j] = 0;
    if (call.basis != HP_BASIS_GAUSSIAN || D != 2) return;
    for (int a = 0; a < D; ++a) {
        const Axis &axis = axes.axis[a];
        for (int64_t j = 0; j < axis.length; ++j) axis.share[j] = std::exp(-2.0f * axis.noise[j] * axis.noise[j]);
    }
}

// The point of the sample under the released formula, less the middle, of weights with the sum `found.weight`.
template <int D>
static void locate_by_axes(const Map &m, Axes &axes, const float *weights, Weighed &found) {
    marginalise(axes, weights, found.weight);
    for (int a = 0; a < D; ++a) found.position[a] = axes.axis[a].locate(*m.call, a, m.middle[a], found.weight);
    // The slopes of the axes are per unit of a weight.
    found.weight = 1;
}
