// How a call is shared among threads, and what each of them needs.
#ifndef HEATPOINT_THREADS_HPP
#define HEATPOINT_THREADS_HPP

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#if defined(__linux__) && !defined(__ANDROID__)
#include <pthread.h>
#include <sched.h>
#endif

namespace heatpoint {

// Functions in here are compiled once per instruction set; without a name of their own the linker could take the wrong one.
namespace {

// Weights far below a map's largest are denormal numbers, which slow arithmetic down several times; they count as 0 meanwhile.
class NoDenormals {
  public:
#if defined(__SSE2__)
    NoDenormals() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8040); }
    ~NoDenormals() { _mm_setcsr(before); }

  private:
    unsigned before;
#elif defined(__aarch64__)
    NoDenormals() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before));
        __asm__ volatile("msr fpcr, %0" : : "r"(before | (UINT64_C(1) << 24)));
    }
    ~NoDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }

  private:
    uint64_t before;
#else
    NoDenormals() {}
    ~NoDenormals() {}
#endif
};

// 64-byte aligned floats, or null.
class Floats {
  public:
    explicit Floats(int64_t count) : memory(std::malloc((size_t)count * sizeof(float) + 64)) {}
    ~Floats() { std::free(memory); }
    Floats(const Floats &) = delete;
    float *get() const {
        return memory ? reinterpret_cast<float *>(((uintptr_t)memory + 63) & ~(uintptr_t)63) : nullptr;
    }

  private:
    void *memory;
};

// As many threads as are asked for, as there are maps, and as are worth their start.
inline int64_t useful_threads(int64_t asked, int64_t num_maps, double work, double least_work) {
    int64_t threads = asked < 1 ? 1 : asked;
    if (threads > num_maps) threads = num_maps;
    if ((double)threads > work / least_work) threads = work < 2 * least_work ? 1 : (int64_t)(work / least_work);
    return threads;
}

// Moves threads that were just started off the caller's processor. Some kernels, of virtual machines above all, let them wait there
// beside an idle one for longer than a call takes. None of them may have ended: its number would then stand for the caller.
inline void move_off(std::vector<std::thread> &helpers) {
#if defined(__linux__) && !defined(__ANDROID__)
    cpu_set_t allowed, others;
    const int here = sched_getcpu();
    // A machine with more processors than such a set holds is left to its kernel.
    if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    others = allowed;
    CPU_CLR(here, &others);
    if (CPU_COUNT(&others) == 0) return;
    for (std::thread &helper : helpers)
        if (pthread_setaffinity_np(helper.native_handle(), sizeof others, &others) == 0)
            pthread_setaffinity_np(helper.native_handle(), sizeof allowed, &allowed);
#else
    (void)helpers;
#endif
}

// Calls `run` on so many threads at once, the caller's among them.
template <typename Run>
void on_threads(int64_t threads, const Run &run) {
    std::vector<std::thread> helpers;
    std::atomic<bool> are_placed{false};
    const auto help = [&] {
        run();
        while (!are_placed.load(std::memory_order_acquire)) std::this_thread::yield();
    };
    try {
        for (int64_t i = 1; i < threads; ++i) helpers.emplace_back(help);
    } catch (const std::system_error &) {
        // Fewer threads do the same work.
    } catch (const std::bad_alloc &) {
    }
    move_off(helpers);
    are_placed.store(true, std::memory_order_release);
    run();
    for (std::thread &helper : helpers) helper.join();
}

}  // namespace
}  // namespace heatpoint
#endif
