#define HP_ISA avx512
#define HP_WIDTH 16
#include "decoders_kernel.hpp"
