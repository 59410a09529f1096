#define HP_ISA avx2
#define HP_WIDTH 8
#include "decoders_kernel.hpp"
