// The released formula: one marginal per axis, one offset per position of an axis; position j of the axis moves the sample by
// `slope[j]` per unit of its marginal. Before the first position and from the last to the next whole block, marginal, noise and
// change are 0.
struct Axis {
    int64_t length;
    float *marginal, *slope, *change, *place, *noise;
    double mean;  // Σ_j marginal_j slope_j, which normalising the weights takes off

    double locate(const hp_sampling &call, int axis, double middle);

  private:
    double plain();
};

double Axis::plain() {
    vf sum{};
    for (int64_t j = 0; j < padded(length); j += W) {
        const vf at = load_anywhere(place + j);
        store_anywhere(slope + j, at);
        sum += load_anywhere(marginal + j) * at;
    }
    return mean = total(sum);
}

double Axis::locate(const hp_sampling &call, int axis, double middle) {
    const int64_t end = padded(length);
    const float stride = (float)call.strides[axis], origin = (float)(call.offsets[axis] - middle);
    const bool is_gaussian = call.basis == HP_BASIS_GAUSSIAN;
    const float unit = stride * (is_gaussian ? (float)call.sigma : 1.0f);
    vf cell, weights{}, sums{};
    for (int i = 0; i < W; ++i) cell[i] = i;
    for (int64_t j = 0; j < end; j += W)
        store_anywhere(place + j, origin + stride * (cell + (float)j) + unit * load_anywhere(noise + j));
    if (call.basis == HP_BASIS_TRIANGULAR) {
        // Offsets lie in (−1, 1): the marginal is interpolated between a position and one of its neighbours.
        for (int64_t j = 0; j < end; j += W) {
            const vf e = load_anywhere(noise + j), size = e < 0.0f ? -e : e;
            const vf neighbor = e < 0.0f ? load_anywhere(marginal + j - 1) : load_anywhere(marginal + j + 1);
            const vf q = (1.0f - size) * load_anywhere(marginal + j) + size * neighbor;
            weights += q;
            sums += q * load_anywhere(place + j);
        }
    } else if (is_gaussian && call.ndim == 2) {
        for (int64_t j = 0; j < length; ++j) change[j] = std::exp(-2.0f * noise[j] * noise[j]);
        for (int64_t j = 0; j < end; j += W) {
            const vf q = load_anywhere(marginal + j) * load_anywhere(change + j);
            weights += q;
            sums += q * load_anywhere(place + j);
        }
    }
    const double weight = total(weights);
    if (!(weight > 0)) return plain();
    const double located = total(sums) / weight;
    const float center = (float)located, share = (float)(1 / weight);
    mean = 0;
    if (is_gaussian) {
        for (int64_t j = 0; j < end; j += W)
            store_anywhere(slope + j, load_anywhere(change + j) * (load_anywhere(place + j) - center) * share);
        return located;
    }
    for (int64_t j = 0; j < end; j += W) store_anywhere(change + j, (load_anywhere(place + j) - center) * share);
    for (int64_t j = length; j < end; ++j) change[j] = 0;
    for (int64_t j = 0; j < end; j += W) {
        const vf e = load_anywhere(noise + j), before = load_anywhere(noise + j - 1), after = load_anywhere(noise + j + 1);
        const vf size = e < 0.0f ? -e : e;
        store_anywhere(slope + j, (1.0f - size) * load_anywhere(change + j) +
                             (before > 0.0f ? before : vf{}) * load_anywhere(change + j - 1) -
                             (after < 0.0f ? after : vf{}) * load_anywhere(change + j + 1));
    }
    return located;
}

template <int BASIS, int D, class STREAM>
static void draw_axes(const Map &m, uint32_t sample, int64_t longest, float *const noise[3]) {
    const Displacements<STREAM> displacements(m, sample);
    for (int64_t block = 0; block < longest; block += BLOCK) {
        for (int part = 0; part < 16; part += W) {
            typename Displacements<STREAM>::Words words;
            displacements.template words<BASIS, D>((uint32_t)(block / 4 + part), words);
            vf offset[3][4];
            Displacements<STREAM>::template offsets<BASIS, D>(words, offset);
            for (int a = 0; a < D; ++a)
                for (int k = 0; k < 4; ++k) std::memcpy(noise[a] + block + 16 * k + part, &offset[a][k], sizeof(vf));
        }
    }
}

// Room of the released formula.
struct Axes {
    Axis axis[3];
    float *noise[3], *plane, *line;
    double *sums[2];

    void arrange(const hp_sampling &call, float *room) {
        const int64_t longest = padded(longest_axis(call)), margin = 16;
        for (int a = 0; a < 3; ++a) {
            axis[a].length = call.lengths[a];
            for (float **row : {&axis[a].marginal, &axis[a].slope, &axis[a].change, &axis[a].place, &axis[a].noise}) {
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

// Sums of the weights over all axes but one, in shares of their total.
static void marginalise(Axes &axes, const float *__restrict weights, double weight) {
    const int64_t width = axes.axis[0].length, height = axes.axis[1].length, depth = axes.axis[2].length;
    float *mx = axes.axis[0].marginal, *my = axes.axis[1].marginal, *mz = axes.axis[2].marginal;
    const double share = 1 / weight;
    if (height * depth == 1) {
        const float shrink = (float)share;
        for (int64_t x = 0; x < width; ++x) mx[x] = shrink * weights[x];
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
        mz[z] = (float)(layer * share);
    }
    for (int64_t x = 0; x < width; ++x) mx[x] = (float)(columns[x] * share);
    for (int64_t y = 0; y < height; ++y) my[y] = (float)(rows[y] * share);
}

static void add_marginal_gradients(const Map &m, Axes &axes, const float *__restrict weights, const Slope &slope) {
    const int64_t width = axes.axis[0].length, height = axes.axis[1].length, depth = axes.axis[2].length;
    const int D = m.call->ndim;
    float *__restrict gradient = m.row(ROW_GRADIENT), *__restrict line = axes.line;
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

// The point of the sample under the released formula, less the middle.
template <int D, class STREAM>
static void locate_by_axes(const Map &m, uint32_t sample, Axes &axes, const float *weights, Moments &moments) {
    const hp_sampling &call = *m.call;
    marginalise(axes, weights, moments.weight);
    const int64_t longest = longest_axis(call);
    if (call.basis == HP_BASIS_UNIFORM) draw_axes<HP_BASIS_UNIFORM, D, STREAM>(m, sample, longest, axes.noise);
    if (call.basis == HP_BASIS_TRIANGULAR) draw_axes<HP_BASIS_TRIANGULAR, D, STREAM>(m, sample, longest, axes.noise);
    if (call.basis == HP_BASIS_GAUSSIAN) draw_axes<HP_BASIS_GAUSSIAN, D, STREAM>(m, sample, longest, axes.noise);
    // Only whole blocks are drawn; what lies beyond an axis belongs to no position.
    for (int a = 0; a < D; ++a)
        for (int64_t j = call.lengths[a]; j < padded(longest); ++j) axes.noise[a][j] = 0;
    for (int a = 0; a < D; ++a)
        moments.position[a] = moments.weight * axes.axis[a].locate(call, a, m.middle[a]);
}
