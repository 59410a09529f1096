#define HP_ISA portable
#define HP_WIDTH 4
#include "decoders_kernel.hpp"
