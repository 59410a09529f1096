// Where the sub-samples of a sample's cells lie: offsets drawn from the basis.

// sin and cos of half a turn times x for |x| ≤ 1, to 3e-8.
static inline void sine_cosine(vf x, vf &sine, vf &cosine) {
    const vf quarters = 2.0f * x, n = nearest(quarters), f = quarters - n, f2 = f * f;
    vf s = all(0.00015819507825654f);
    s = s * f2 - 0.0046812607906758785f;
    s = s * f2 + 0.07969257980585098f;
    s = s * f2 - 0.6459640860557556f;
    s = (s * f2 + 1.5707963705062866f) * f;
    vf c = all(0.0009033629903569818f);
    c = c * f2 - 0.020859936252236366f;
    c = c * f2 + 0.2536691725254059f;
    c = c * f2 - 1.2337005138397217f;
    c = c * f2 + 1.0f;
    const vi turn = __builtin_convertvector(n, vi);
    const vi is_odd = (turn & 1) != 0;
    const vf a = is_odd ? c : s, b = is_odd ? s : c;
    sine = (turn & 2) != 0 ? -a : a;
    cosine = ((turn + 1) & 2) != 0 ? -b : b;
}

// The upper 16 bits of a word as an odd multiple of 2⁻¹⁶ in (−1, 1).
static inline vf centered(vu word) {
    return __builtin_convertvector((vi)word >> 16, vf) * 0x1p-15f + 0x1p-16f;
}

// Offsets of the uniform and the triangular basis, in cells. With two bytes A and B of the cell's own, and u and v in (0, 1) of the
// sample and the axis,
//     (A + u) / 256 − 1/2   and   (A + u) / 256 − (B + v) / 256
// have the basis's law, to 2⁻²⁴. All cells of a sample share what u and v make, its rest: it comes into the sample's point
// once and not into its gradient. Offsets of two cells correlate by 2⁻¹⁶.
//
// Two bytes of a lattice's word would go together over the samples. There an offset is the quantile of one number.
constexpr float BYTE = 0x1p-8f;  // of a cell

// The upper 16 bits of a word as an offset less its rest.
template <int BASIS>
static inline HP_INLINE vf by_bytes(vu word) {
    return BYTE * __builtin_convertvector(plus_bytes<BASIS == HP_BASIS_TRIANGULAR>(vi{} + level_of(BASIS), word, 16), vf);
}

// The upper 16 bits of a word as an offset: a sign, and 15 bits k that are the share s = (k + 1/2) 2⁻¹⁵ of the basis's half that lies
// farther out: ½ (1 − s) for the uniform basis, 1 − √s for the triangular.
template <int BASIS>
static inline HP_INLINE vf by_quantile(vu word) {
    const vu placed = (vu)((vi)word >> 8);  // the sign above, the share below
    constexpr bool IS_UNIFORM = BASIS == HP_BASIS_UNIFORM;
    // (1 + s) / 2 and (1 + s) / 4
    const vf raised = (vf)bits_of(placed, 0x007fff00u, IS_UNIFORM ? 0x3f000080u : 0x3e800080u);
    const vf size = IS_UNIFORM ? 1.0f - raised : one_less_twice_root(raised - 0.25f);
    return (vf)bits_of(placed, 0x80000000u, (vu)size);
}

constexpr std::array<float, 3> NO_REST{};

// The rests of a map's samples, in cells, 0 where there are none: stream 3, whose quads are samples.
class Rests {
  public:
    explicit Rests(const Map &m) : m(m) {}

    // Along every axis.
    std::array<float, 3> of(int64_t sample) {
        if (sample / W != drawn) draw(sample / W);
        const int64_t s = sample % W;
        return {kept[0][s], kept[1][s], kept[2][s]};
    }

  private:
    const Map &m;
    int64_t drawn = -1;
    vf kept[3]{};

    // Of W samples.
    void draw(int64_t number) {
        drawn = number;
        const bool is_uniform = m.call->basis == HP_BASIS_UNIFORM;
        if (m.call->modulus || (!is_uniform && m.call->basis != HP_BASIS_TRIANGULAR)) return;
        vu words[4];
        Philox(m.keys, 0, m.noise, 3).words((uint32_t)(number * W), words);
        for (int a = 0; a < 3; ++a) {
            const vf u = __builtin_convertvector((vi)(words[a] >> 16), vf), v = __builtin_convertvector((vi)(words[a] & 65535u), vf);
            kept[a] = 0x1p-24f * (is_uniform ? u + 0.5f : u - v);
        }
    }
};

// Standard normals in pairs, by Box and Muller's transform of a word and half a turn's share in [−1, 1].
static inline HP_INLINE void normals(vu word, vf turn, vf &x, vf &y) {
    const vf radius = square_root(1.3862943649291992f * exponentials<false>(word));
    vf sine, cosine;
    sine_cosine(turn, sine, cosine);
    x = radius * cosine;
    y = radius * sine;
}

// Two blocks of cells share a word, 16 bits each: quad q and quad q + 16 that of quad q / 32 · 16 + q mod 16.
struct Halves {
    vu kept[16 / W][4];

    template <class STREAM>
    inline HP_INLINE void words(const STREAM &stream, uint32_t quad, vu out[4]) {
        vu *own = kept[quad % 16 / W];
        if (quad & 16)
            for (int k = 0; k < 4; ++k) own[k] <<= 16;
        else
            stream.words(quad / 32 * 16 + quad % 16, own);
        for (int k = 0; k < 4; ++k) out[k] = own[k];
    }
};

// Offsets of a sample less their rests, in cells or as standard normals, from streams 1 and 2.
template <int BASIS, int D, class STREAM>
struct Offsets {
    static constexpr bool IS_GAUSSIAN = BASIS == HP_BASIS_GAUSSIAN;
    STREAM first, second;

    Offsets(const Map &m, uint32_t sample) : first(m, sample, 1), second(m, sample, 2) {}

    inline HP_INLINE void words(uint32_t quad, Words &out, Halves &halves) const {
        if (!IS_GAUSSIAN && D == 1) return halves.words(first, quad, out.of[0]);
        first.words(quad, out.of[0]);
        if (IS_GAUSSIAN && D > 1) second.words(quad, out.of[1]);
        if (!IS_GAUSSIAN && D == 3) halves.words(second, quad, out.of[1]);
    }

    // Calls `use(k, offset)` with x, y and z for each of the 4 vectors of cells to which the words belong.
    template <class USE>
    static inline HP_INLINE void each(const Words &words, USE use) {
        const vu *a = words.of[0], *b = words.of[1];
        if (IS_GAUSSIAN) {
            vf offset[4][3];
            make_normals(a, b, offset);
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) use(k, offset[k]);
            return;
        }
#pragma GCC unroll 2
        for (int k = 0; k < 4; ++k) {
            vf offset[3];
            offset[0] = bounded(a[k]);
            if (D > 1) offset[1] = bounded(a[k] << 16);
            if (D > 2) offset[2] = bounded(b[k]);
            use(k, offset);
        }
    }

  private:
    static inline HP_INLINE vf bounded(vu word) { return STREAM::IS_LATTICE ? by_quantile<BASIS>(word) : by_bytes<BASIS>(word); }

    // A pair of normals needs a word for the radius, of which 9 bits are left over, and at least 16 bits for the angle.
    static inline HP_INLINE void make_normals(const vu *a, const vu *b, vf offset[4][3]) {
        if (D == 1) {
#pragma GCC unroll 2
            for (int k = 0; k < 2; ++k) normals(a[k], centered(a[2 + k]), offset[2 * k][0], offset[2 * k + 1][0]);
            return;
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            const vu angle = D == 2 ? b[k] : k % 2 ? b[2 + k / 2] << 16 : b[2 + k / 2];
            normals(a[k], centered(angle), offset[k][0], offset[k][1]);
        }
        if (D < 3) return;
#pragma GCC unroll 2
        for (int k = 0; k < 2; ++k) {
            const vu left_over = (a[2 * k] & 511) << 9 | (a[2 * k + 1] & 511);
            const vf turn = __builtin_convertvector((vi)left_over, vf) * 0x1p-17f - (1.0f - 0x1p-18f);
            normals(b[k], turn, offset[2 * k][2], offset[2 * k + 1][2]);
        }
    }
};

// A sample whose gradient waits until the next sample's sub-samples are there.
struct Before {
    const float *weights;
    Slope slope;
};

// Positions c + e of one sample's sub-samples, one per cell, and the sums with its weights. What they replace, the positions of the
// sample before, gives its gradient first, in the shadow of all that has to be computed.
template <int BASIS, int D, class STREAM, bool HAS_BEFORE>
static HP_APART void displace(const Map &m, uint32_t sample, const float *weights, float *const positions[3],
                              const Before *before, Moments &moments) {
    const Offsets<BASIS, D, STREAM> offsets(m, sample);
    Halves halves;
    float *gradient = m.row(ROW_GRADIENT);
    const float *old_weights = HAS_BEFORE ? before->weights : nullptr;
    const Slope old = HAS_BEFORE ? before->slope : Slope{};
    float unit[3];
    for (int a = 0; a < D; ++a) {
        const double stride = m.call->points ? 1.0 : m.call->strides[a];
        unit[a] = (float)(BASIS == HP_BASIS_GAUSSIAN ? stride * m.call->sigma : stride);
    }
    Sums<D> sums;
    in_turn(
        m.task->row / 4, [&](uint32_t quad, Words &words) HP_INLINE { offsets.words(quad, words, halves); },
        [&](int64_t quad, const Words &words) HP_INLINE {
            offsets.each(words, [&](int k, const vf offset[3]) HP_INLINE {
                const int64_t i = first_cell(quad) + 16 * k;
                if (HAS_BEFORE) {
                    vf slope = all(old.constant);
#pragma GCC unroll 3
                    for (int a = 0; a < D; ++a) slope += old.factor[a] * (load(positions[a] + i) - old.point[a]);
                    store(gradient + i, load(gradient + i) + load(old_weights + i) * slope);
                }
                const vf w = load(weights + i);
#pragma GCC unroll 3
                for (int a = 0; a < D; ++a) {
                    const vf position = load(m.centers[a] + i) + unit[a] * offset[a];
                    store(positions[a] + i, position);
                    sums.position[a] += w * position;
                }
            });
            sums.flush_at_times(quad, moments);
        });
    sums.leave_positions(moments);
}

// The sub-samples of a sample of a grid's map in bytes of a cell, less their rest: kept are only the words, in one of two rooms.
template <int BASIS, int D>
struct Bytes {
    const float *centers[3];
    float *first, *second;  // words of stream 1 and, in three dimensions, 2

    Bytes(const Map &m, int room) : first(m.row(ROW_POSITIONS + room)), second(m.row(ROW_POSITIONS + 2 + room)) {
        for (int a = 0; a < D; ++a) centers[a] = m.centers[a];
    }

    // Of the W cells from i on along an axis, less `from`, a whole number as they are (Totals::add), and so exact. What takes half a
    // word has that of the even one of two blocks, which begins `back` cells before.
    inline HP_INLINE vf position(int axis, int64_t i, int64_t back, float from) const {
        const bool is_alone = D != 2 && axis == D - 1;
        const float *words = (axis == 2 ? second : first) - (is_alone ? back : 0);
        const int shift = is_alone ? (back ? 0 : 16) : axis == 0 ? 16 : 0;
        const vi sum = plus_bytes<BASIS == HP_BASIS_TRIANGULAR>((vi)load(centers[axis] + i), (vu)load(words + i), shift);
        return (vf)sum - (MAGIC + from);
    }

    // Makes the words of 4 W cells.
    inline HP_INLINE void draw(const Independent &one, const Independent &two, uint32_t quad) const {
        if (D > 1 || !(quad & 16)) draw(one, quad, first, D > 1);
        if (D > 2 && !(quad & 16)) draw(two, quad, second, false);
    }

    inline HP_INLINE void prefetch(int64_t i) const {
        __builtin_prefetch(first + i);
        if (D > 2) __builtin_prefetch(second + (i & ~BLOCK));
    }

  private:
    static inline HP_INLINE void draw(const Independent &stream, uint32_t quad, float *into, bool is_whole) {
        vu words[4];
        stream.words(is_whole ? quad : quad / 32 * 16 + quad % 16, words);
        for (int k = 0; k < 4; ++k) store(into + first_cell(quad) + 16 * k, (vf)words[k]);
    }
};

// Of such a sample, does `put(i, sum)` with the sums of the gradients of all samples so far.
template <int BASIS, int D, class PUT>
static inline HP_INLINE void add_by_bytes(const Map &m, const Before &last, int room, PUT put) {
    const Bytes<BASIS, D> own(m, room);
    const float *gradient = m.row(ROW_GRADIENT);
    for (int64_t i = 0; i < m.task->row; i += W) {
        vf slope = all(last.slope.constant);
        for (int a = 0; a < D; ++a) slope += last.slope.factor[a] * own.position(a, i, i & BLOCK, last.slope.point[a]);
        put(i, load(gradient + i) + load(last.weights + i) * slope);
    }
}

// What `displace` does, of a grid's map alone and by bytes: sums with the sample's weights, and the gradient of the one before.
template <int BASIS, int D, bool HAS_BEFORE>
static HP_APART void displace_by_bytes(const Map &m, uint32_t sample, const float *weights, const Before *before, Moments &moments) {
    const Independent one(m, sample, 1), two(m, sample, 2);
    const Bytes<BASIS, D> own(m, (int)(sample % 2)), other(m, (int)(1 - sample % 2));
    float *gradient = m.row(ROW_GRADIENT);
    const float *old_weights = HAS_BEFORE ? before->weights : nullptr;
    const Slope old = HAS_BEFORE ? before->slope : Slope{};
    const int64_t quads = m.task->row / 4;
    constexpr int64_t STEP = 64;  // quads whose words are made before they are used, while what they need is fetched
    Sums<D> sums;
    for (int64_t start = 0; start < quads; start += STEP) {
        const int64_t end = start + STEP < quads ? start + STEP : quads;
        for (int64_t quad = start; quad < end; quad += W) {
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const int64_t i = first_cell(quad) + 16 * k;
                __builtin_prefetch(weights + i);
                if (HAS_BEFORE) {
                    __builtin_prefetch(old_weights + i);
                    __builtin_prefetch(gradient + i, 1);
                    other.prefetch(i);
                }
#pragma GCC unroll 3
                for (int a = 0; a < D; ++a) __builtin_prefetch(own.centers[a] + i);
            }
            own.draw(one, two, (uint32_t)quad);
        }
        for (int64_t quad = start; quad < end; quad += W) {
            const int64_t back = first_cell(quad) & BLOCK;
#pragma GCC unroll 2
            for (int k = 0; k < 4; ++k) {
                const int64_t i = first_cell(quad) + 16 * k;
                const vf w = load(weights + i);
                vf slope = all(old.constant);
#pragma GCC unroll 3
                for (int a = 0; a < D; ++a) {
                    sums.position[a] += w * own.position(a, i, back, 0);
                    if (HAS_BEFORE) slope += old.factor[a] * other.position(a, i, back, old.point[a]);
                }
                if (HAS_BEFORE) store(gradient + i, load(gradient + i) + load(old_weights + i) * slope);
            }
            sums.flush_at_times(quad, moments);
        }
    }
    sums.leave_positions(moments);
}
