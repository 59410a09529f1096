// Philox4x32 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011): random words as a function of a
// 64-bit key and a counter of four words, here (quad of cells, sample, map, stream). Seven rounds, the fewest that the authors
// found to pass all of BigCrush.
//
// The cells of a map are taken in blocks of 64. Quad q = 16 b + l gives cell 64 b + 16 k + l its word k: 16 quads at a time
// give four runs of 16 neighbouring cells, on every instruction set alike.

constexpr uint32_t PHILOX_M0 = 0xD2511F53u, PHILOX_M1 = 0xCD9E8D57u, PHILOX_W0 = 0x9E3779B9u, PHILOX_W1 = 0xBB67AE85u;
#ifndef HP_PHILOX_ROUNDS
#define HP_PHILOX_ROUNDS 7
#endif

// The keys of all rounds.
struct Keys {
    uint64_t first[HP_PHILOX_ROUNDS], second[HP_PHILOX_ROUNDS];

    explicit Keys(uint64_t seed) {
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < HP_PHILOX_ROUNDS; ++round, k0 += PHILOX_W0, k1 += PHILOX_W1) {
            first[round] = k0;
            second[round] = k1;
        }
    }
};

class Philox {
  public:
    // Of the first two rounds, all that does not depend on the quad is done here, once.
    Philox(const Keys &keys, uint32_t sample, uint32_t map, uint32_t stream) : keys(keys) {
        const uint64_t p1 = (uint64_t)map * PHILOX_M1;
        const uint32_t c0 = (uint32_t)(p1 >> 32) ^ sample ^ (uint32_t)keys.first[0];
        const uint64_t p0 = (uint64_t)c0 * PHILOX_M0;
        first2 = stream ^ (uint32_t)keys.second[0];
        second0 = (uint32_t)p1 ^ (uint32_t)keys.first[1];
        second2 = (uint32_t)(p0 >> 32) ^ (uint32_t)keys.second[1];
        second3 = (uint32_t)p0;
    }

    // Words k = 0 … 3 of the W quads from `quad` on.
    inline HP_INLINE void words(uint32_t quad, vu out[4]) const {
        // The first products are linear in the quad.
        vq of_even, of_odd, even[4], odd[4];
        for (int i = 0; i < QUADS; ++i) {
            of_even[i] = (uint64_t)(2 * i) * PHILOX_M0;
            of_odd[i] = (uint64_t)(2 * i + 1) * PHILOX_M0;
        }
        const uint64_t of_quad = (uint64_t)quad * PHILOX_M0;
        rounds(of_even + of_quad, even);
        rounds(of_odd + of_quad, odd);
        for (int k = 0; k < 4; ++k) out[k] = interleave_low(even[k], odd[k]);
    }

  private:
    // Only the low halves of the 64-bit lanes count: the multiplication does not see the others.
    inline HP_INLINE void rounds(vq p0, vq c[4]) const {
        const vq p1 = multiply_low((p0 >> 32) ^ first2, PHILOX_M1);
        c[0] = (p1 >> 32) ^ second0;
        c[1] = p1;
        c[2] = p0 ^ second2;
        c[3] = vq{} + second3;
#pragma GCC unroll 16
        for (int round = 2; round < HP_PHILOX_ROUNDS; ++round) {
            const vq a = multiply_low(c[0], PHILOX_M0), b = multiply_low(c[2], PHILOX_M1);
            c[0] = xor3(b >> 32, c[1], vq{} + keys.first[round]);
            c[1] = b;
            c[2] = xor3(a >> 32, c[3], vq{} + keys.second[round]);
            c[3] = a;
        }
    }

    const Keys &keys;
    uint64_t first2, second0, second2, second3;
};

// Uniforms (2k + 1) 2⁻²⁴, k the word's 23 high bits: never 0 nor 1, exact in float32.
static inline vf uniforms(vu word) { return (vf)((word >> 9) | 0x3f800000u) - 0.999999940395355224609375f; }
