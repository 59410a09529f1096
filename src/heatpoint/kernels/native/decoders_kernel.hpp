// The decoders that go over whole maps, compiled once per instruction set.

#include <cmath>
#include <cstring>

#include "decoders_call.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace heatpoint {
namespace HP_ISA {

#include "vectors.hpp"

#include "exponent.hpp"

#include "softmax.hpp"

#include "largest.hpp"

}  // namespace HP_ISA

#define HP_JOINED(name, isa) name##_##isa
#define HP_NAMED(name, isa) HP_JOINED(name, isa)

void HP_NAMED(largest, HP_ISA)(const hp_largest &call, int64_t first, int64_t last, float *room) {
    if (call.is_double)
        HP_ISA::largest_cells(call, first, last, reinterpret_cast<double *>(room));
    else
        HP_ISA::largest_cells(call, first, last, room);
}

void HP_NAMED(softmax, HP_ISA)(const hp_softmax &call, int64_t first, int64_t last) {
    if (call.num_columns == 0) HP_ISA::softmax_maps<0>(call, first, last);
    if (call.num_columns == 1) HP_ISA::softmax_maps<1>(call, first, last);
    if (call.num_columns == 2) HP_ISA::softmax_maps<2>(call, first, last);
    if (call.num_columns == 3) HP_ISA::softmax_maps<3>(call, first, last);
}

}  // namespace heatpoint
