// Random words of a map's samples, as one of two streams: each word on its own, or a lattice over the samples.
//
// Stream 0 makes the Gumbel draws, 1 and 2 the basis's offsets, 3 what those of a sample share.

// Random words of 4 W cells, of at most two streams.
struct Words {
    vu of[2][4];
};

// Does `use(quad, words)` for the quads 0, W, 2 W … below `quads`. `words` are those of quad 0, and those of the next sample's when
// all is done. The words of the next quads are made while those of these are used: two chains of dependent operations, neither
// of which alone keeps the processor busy.
template <class MAKE, class MAKE_NEXT, class USE>
static inline HP_INLINE void overlapped(int64_t quads, Words &words, MAKE make, MAKE_NEXT make_next, USE use) {
    Words now = words, next;
    int64_t quad = 0;
    for (; quad + W < quads; quad += W) {
        make((uint32_t)(quad + W), next);
        use(quad, now);
        now = next;
    }
    make_next(next);
    use(quad, now);
    words = next;
}

// Does `use(quad, words)` for the same quads, of words that `make(quad, words)` makes of all in their order: of 256 cells at a time, and
// then their use. For one that needs the registers in which words would wait.
template <class MAKE, class USE>
static inline HP_INLINE void in_turn(int64_t quads, MAKE make, USE use) {
    constexpr int STEPS = 64 / W;
    Words words[STEPS];
    for (int64_t first = 0; first < quads; first += STEPS * W) {
        const int count = quads - first < STEPS * W ? (int)(quads - first) / W : STEPS;
        for (int step = 0; step < count; ++step) make((uint32_t)(first + step * W), words[step]);
        for (int step = 0; step < count; ++step) use(first + step * W, words[step]);
    }
}

// The first of the 4 W cells that belong to W quads; the others follow at distances of 16.
static inline int64_t first_cell(int64_t quad) { return quad / 16 * BLOCK + quad % 16; }

// Every word is Philox's of (quad of cells, sample, map or group of maps, stream).
struct Independent {
    static constexpr bool IS_LATTICE = false;
    Philox philox;

    Independent(const Map &m, uint32_t sample, uint32_t stream)
        : philox(m.keys, sample, m.noise, stream) {}

    // The words of the 4 W cells of the W quads from `quad` on: out[k] for cells first + 16 k, see philox.hpp.
    inline HP_INLINE void words(uint32_t quad, vu out[4]) const { philox.words(quad, out); }

    static void prepare(const Map &, uint32_t, int64_t) {}
};

// A cell's words over the samples are a rank-1 lattice with a random shift: word s = base + s · step modulo 2³², where the base is
// Philox's word of sample 0, so that each word alone is uniform, and the step is j 2³² / P, P prime and no fewer than the samples,
// j from 1 to P − 1 by Philox's word of sample 1. So the words of P samples are equally far apart, those of fewer nearly so, and
// cells are independent of each other.
struct Lattice {
    static constexpr bool IS_LATTICE = true;
    const float *base, *step;
    uint32_t sample;

    Lattice(const Map &m, uint32_t sample, uint32_t stream)
        : base(m.row(ROW_LATTICE + 2 * (int)stream)), step(m.row(ROW_LATTICE + 2 * (int)stream + 1)), sample(sample) {}

    inline HP_INLINE void words(uint32_t quad, vu out[4]) const {
        const int64_t first = first_cell(quad);
        for (int k = 0; k < 4; ++k) out[k] = (vu)load(base + first + 16 * k) + sample * (vu)load(step + first + 16 * k);
    }

    // Bases and steps of `cells` cells, whole blocks.
    static void prepare(const Map &m, uint32_t stream, int64_t cells) {
        float *base = m.row(ROW_LATTICE + 2 * (int)stream), *step = m.row(ROW_LATTICE + 2 * (int)stream + 1);
        const Independent bases(m, 0, stream), steps(m, 1, stream);
        for (int64_t quad = 0; quad < cells / 4; quad += W) {
            const int64_t first = first_cell(quad);
            vu words[2][4];
            bases.words((uint32_t)quad, words[0]);
            steps.words((uint32_t)quad, words[1]);
            for (int k = 0; k < 4; ++k) {
                store(base + first + 16 * k, (vf)words[0][k]);
                store(step + first + 16 * k, (vf)words[1][k]);
            }
        }
        const uint64_t others = (uint64_t)m.call->modulus - 1;
        const double spacing = 4294967296.0 / (double)m.call->modulus, magic = 6755399441055744.0;
        for (int64_t i = 0; i < cells; ++i) {
            // The words lie in the room of floats: looked at as words they are copied, which compiles to nothing.
            uint32_t word;
            std::memcpy(&word, step + i, sizeof word);
            const uint32_t j = 1 + (uint32_t)((word * others) >> 32);
            const double rounded = (double)j * spacing + magic;  // whose low bits are the whole number
            uint64_t bits;
            std::memcpy(&bits, &rounded, sizeof bits);
            word = (uint32_t)bits;
            std::memcpy(step + i, &word, sizeof word);
        }
    }
};
