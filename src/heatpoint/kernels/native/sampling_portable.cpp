#define HP_ISA portable
#define HP_WIDTH 4
#include "sampling_kernel.hpp"
