#define HP_ISA avx2
#define HP_WIDTH 8
#include "sampling_kernel.hpp"
