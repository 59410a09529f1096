// The released formula: one marginal per axis, and one offset per position of an axis. A unit of the marginal of position j counts
// as `share[j]` at j + `moment[j]` / `share[j]`, so that of the marginal M the sample lies at
//     Σ_j M_j (share_j j + moment_j) / Σ_j M_j share_j.
// Share and moment depend on the offsets alone. From the last position to the next whole block, offsets and marginals are 0.
struct Axis {
    int64_t length, end;    // positions, and the next whole block
    double stride, origin;  // a coordinate less the map's middle is origin + stride · (position − length / 2)
    float *noise, *share, *moment, *slope, *marginal;
    double position;  // of the sample, less length / 2
    // Σ_j M_j share_j. Never 0: the largest weight is 1 times no less than E^(−4), 24⁻⁴, or 1 in the log domain, and no share is less
    // than 2⁻⁹⁶, which together is 4e-35.
    double weight;

    void weigh_normals();
    void displace(float unit);
    void displace_interpolated();
    void sum(const float *marginal);
    double settle();
    void find_slopes(float factor);

  private:
    // Of the weight, and of the position what comes from the positions and what from the moments. These are not added before the
    // weight has divided them: the point of one cell alone shall be its own to the last bit.
    vf weights, places, moments;

    // The first positions, less length / 2 and `from`.
    vf positions(double from) const {
        vf first;
        for (int i = 0; i < W; ++i) first[i] = i;
        return first - (float)(length / 2 + from);
    }
};

// Normals n weigh exp(−2 n²).
void Axis::weigh_normals() {
    for (int64_t j = 0; j < end; j += W) {
        const vf n = load(noise + j), bits = -2.885390081777927f * (n * n), whole = nearest(bits);
        store(share + j, scaled(exp2_fraction<true>(bits - whole), whole));
    }
}

// Moments of offsets that are the noise times `unit` cells.
void Axis::displace(float unit) {
    for (int64_t j = 0; j < end; j += W) store(moment + j, load(share + j) * (unit * load(noise + j)));
}

// A displaced position j + e_j counts as the marginal there, interpolated between the two positions around it. So position j has
// the share 1 − |e_j| of its own marginal, and those that the offsets of its neighbours take of it.
void Axis::displace_interpolated() {
    vf left{}, here = load(noise);
    for (int64_t j = 0; j < end; j += W) {
        const vf right = j + W < end ? load(noise + j + W) : vf{};
        const vf forth = positive_part(one_before(left, here)), back = negative_part(one_after(here, right));
        const vf own = 1.0f - magnitude(here);
        store(share + j, own + (forth - back));
        store(moment + j, own * here + (forth * (forth - 1.0f) - back * (back + 1.0f)));
        left = here;
        here = right;
    }
}

void Axis::sum(const float *marginal) {
    vf weight{}, of_places{}, of_moments{}, place = positions(0);
    for (int64_t j = 0; j < end; j += W, place += (float)W) {
        const vf here = load(marginal + j), counted = here * load(share + j);
        weight += counted;
        of_places += counted * place;
        of_moments += here * load(moment + j);
    }
    weights = weight;
    places = of_places;
    moments = of_moments;
}

// The sample's coordinate less the map's middle, of what was summed.
double Axis::settle() {
    weight = total(weights);
    position = (total(places) + total(moments)) / weight;
    return origin + stride * position;
}

// `slope[j]`: what a unit of the marginal of position j gives to `factor` times the coordinate.
void Axis::find_slopes(float factor) {
    const double whole = std::nearbyint(position);
    const float rest = (float)(position - whole), scale = (float)(factor * stride / weight);
    vf place = positions(whole);  // exact, which a difference from the position itself would not be
    for (int64_t j = 0; j < end; j += W, place += (float)W)
        store(slope + j, scale * (load(moment + j) + load(share + j) * (place - rest)));
}

// Room of the released formula.
struct Axes {
    Axis axis[3];
    int64_t longest;  // of them, in whole blocks
    float *plane;
    double *sums[2];

    Axes(const Map &m, float *room) {
        const hp_sampling &call = *m.call;
        const int64_t margin = 32;
        longest = padded(longest_axis(call));
        for (int a = 0; a < call.ndim; ++a) {
            Axis &own = axis[a];
            own.length = call.lengths[a];
            own.end = padded(own.length);
            own.stride = call.strides[a];
            own.origin = call.offsets[a] + own.stride * (double)(own.length / 2) - m.middle[a];
            for (float **row : {&own.noise, &own.share, &own.moment, &own.slope, &own.marginal}) {
                *row = room;
                room += longest + margin;
            }
            std::fill(own.share, own.share + own.end, 1.0f);
            std::fill(own.marginal + own.length, own.marginal + own.end, 0.0f);
        }
        for (double **row : {&sums[0], &sums[1]}) {
            *row = reinterpret_cast<double *>(room);
            room += 2 * longest;
        }
        plane = room;
    }
};

// Sums of the weights over all axes but one, of a map of several axes.
template <int D>
static void marginalise(Axes &axes, const float *__restrict weights) {
    const int64_t width = axes.axis[0].length, height = axes.axis[1].length, depth = D > 2 ? axes.axis[2].length : 1;
    float *mx = axes.axis[0].marginal, *my = axes.axis[1].marginal;
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
        if (D > 2) axes.axis[2].marginal[z] = (float)layer;
    }
    for (int64_t x = 0; x < width; ++x) mx[x] = (float)columns[x];
    for (int64_t y = 0; y < height; ++y) my[y] = (float)rows[y];
}

// Adds to the gradient of a map what its sample's slope gives.
template <int D>
static void add_marginal_gradients(Axes &axes, const float *__restrict weights, const Slope &slope, float *__restrict gradient) {
    for (int a = 0; a < D; ++a) axes.axis[a].find_slopes(slope.factor[a]);
    const int64_t width = axes.axis[0].length, height = D > 1 ? axes.axis[1].length : 1, depth = D > 2 ? axes.axis[2].length : 1;
    const float *__restrict line = axes.axis[0].slope;
    for (int64_t z = 0; z < depth; ++z) {
        for (int64_t y = 0; y < height; ++y, weights += width, gradient += width) {
            float others = 0;
            if (D > 1) others += axes.axis[1].slope[y];
            if (D > 2) others += axes.axis[2].slope[z];
            for (int64_t x = 0; x < width; ++x) gradient[x] += weights[x] * (line[x] + others);
        }
    }
}

// Offsets of a sample along the axes.
template <int BASIS, int D, class STREAM>
static HP_APART void draw_axes(const Map &m, uint32_t sample, const std::array<float, 3> &rest, Axes &axes) {
    const Offsets<BASIS, D, STREAM> offsets(m, sample);
    Halves halves;
    float *noise[3];
    for (int a = 0; a < D; ++a) noise[a] = axes.axis[a].noise;
    in_turn(
        axes.longest / 4, [&](uint32_t quad, Words &words) HP_INLINE { offsets.words(quad, words, halves); },
        [&](int64_t quad, const Words &words) HP_INLINE {
            offsets.each(words, [&](int k, const vf offset[3]) HP_INLINE {
                for (int a = 0; a < D; ++a) store(noise[a] + first_cell(quad) + 16 * k, offset[a] + rest[a]);
            });
        });
}

// The same, and what they make of the marginals whatever those are.
template <int D, class STREAM>
static void draw_lines(const Map &m, uint32_t sample, const std::array<float, 3> &rest, Axes &axes) {
    const hp_sampling &call = *m.call;
    if (call.basis == HP_BASIS_UNIFORM) draw_axes<HP_BASIS_UNIFORM, D, STREAM>(m, sample, rest, axes);
    if (call.basis == HP_BASIS_TRIANGULAR) draw_axes<HP_BASIS_TRIANGULAR, D, STREAM>(m, sample, rest, axes);
    if (call.basis == HP_BASIS_GAUSSIAN) draw_axes<HP_BASIS_GAUSSIAN, D, STREAM>(m, sample, rest, axes);
    for (int a = 0; a < D; ++a) {
        Axis &axis = axes.axis[a];
        // Only whole blocks are drawn; what lies beyond an axis belongs to no position.
        for (int64_t j = axis.length; j < axis.end; ++j) axis.noise[j] = 0;
        if (call.basis == HP_BASIS_TRIANGULAR) {
            axis.displace_interpolated();
            continue;
        }
        if (call.basis == HP_BASIS_GAUSSIAN && D == 2) axis.weigh_normals();
        axis.displace(call.basis == HP_BASIS_GAUSSIAN ? (float)call.sigma : 1.0f);
    }
}

// The sums of a map's weights from which `locate_by_axes` finds the sample's point. Those of one axis are their own marginal.
template <int D>
static void sum_by_axes(Axes &axes, const float *weights) {
    if (D > 1) marginalise<D>(axes, weights);
    for (Axis *axis = axes.axis; axis < axes.axis + D; ++axis) axis->sum(D > 1 ? axis->marginal : weights);
}

// The sample's point less the map's middle.
template <int D>
static Weighed locate_by_axes(Axes &axes) {
    Weighed found{1, {}};  // every axis has divided by its own
    for (int a = 0; a < D; ++a) found.position[a] = axes.axis[a].settle();
    return found;
}
