// The C interface: checks a call, picks the instruction set, shares the maps among threads.

#include <algorithm>
#include <cmath>

#include "sampling_call.hpp"
#include "threads.hpp"

namespace heatpoint {

void fill_centers(const float *points, int64_t n, int D, int64_t row, float *x, float *y, float *z, double middle[3]) {
    float *rows[3] = {x, y, z};
    for (int a = 0; a < D; ++a) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += points[i * D + a];
        middle[a] = sum / (double)n;
        for (int64_t i = 0; i < n; ++i) rows[a][i] = (float)(points[i * D + a] - middle[a]);
        for (int64_t i = n; i < row; ++i) rows[a][i] = 0;
    }
}

namespace {

bool is_sound(const hp_sampling &c) {
    const bool asks_distance = c.loss || c.target_gradient || (c.logits_gradient && !c.sample_gradient);
    if (!c.logits || c.num_maps < 0 || c.num_cells < 1 || c.num_samples < 1 || c.ndim < 1 || c.ndim > 3) return false;
    if (c.num_maps > UINT32_MAX || c.num_samples > UINT32_MAX || c.num_cells > INT64_C(1) << 33) return false;
    if (c.modulus && (c.modulus < 2 || c.modulus < c.num_samples || c.modulus > INT32_MAX)) return false;
    if (c.maps_per_group < 0 || (c.maps_per_group > 1 && (c.modulus || c.num_maps % c.maps_per_group))) return false;
    if ((asks_distance && !c.target) || !(c.temperature >= COLDEST_ALLOWED) || std::isinf(c.temperature)) return false;
    if (c.basis < HP_BASIS_NONE || c.basis > HP_BASIS_GAUSSIAN || c.distance < 0 || c.distance > HP_DISTANCE_SQUARED) return false;
    if (c.axis_weight && c.distance == HP_DISTANCE_L2) return false;
    if (c.basis == HP_BASIS_GAUSSIAN && !(c.sigma > 0)) return false;
    // Maps with one noise lie on one cloud.
    for (int64_t i = 0; c.points && c.cloud_of_map && c.maps_per_group > 1 && i < c.num_maps; ++i)
        if (c.cloud_of_map[i] != c.cloud_of_map[i / c.maps_per_group * c.maps_per_group]) return false;
    if (c.points) return c.formula == HP_FORMULA_PAPER && (c.basis == HP_BASIS_NONE || c.basis == HP_BASIS_GAUSSIAN);
    int64_t cells = 1;
    for (int a = 0; a < 3; ++a) {
        if (c.lengths[a] < 1 || (a >= c.ndim && c.lengths[a] != 1)) return false;
        cells *= c.lengths[a];
    }
    return cells == c.num_cells && (c.formula == HP_FORMULA_PAPER || c.formula == HP_FORMULA_RELEASED);
}

// Whether sub-samples are kept in bytes: of maps that share no noise, where every cell has an offset that is made of bytes.
bool is_in_bytes(const hp_sampling &call, bool is_shared) {
    const bool is_bounded = call.basis == HP_BASIS_UNIFORM || call.basis == HP_BASIS_TRIANGULAR;
    return is_bounded && !call.modulus && call.formula == HP_FORMULA_PAPER && !is_shared && longest_axis(call) <= LONGEST_IN_BYTES;
}

void fill_grid(const hp_sampling &call, const Task &task, float *const rows[3], double middle[3]) {
    int64_t repeat = 1;  // cells that follow each other with the same coordinate
    for (int a = 0; a < call.ndim; ++a) {
        const int64_t length = call.lengths[a], period = repeat * length;
        middle[a] = call.offsets[a] + call.strides[a] * 0.5 * (double)(length - 1);
        for (int64_t cell = 0; cell < length; ++cell) {
            const double in_bytes = (double)MAGIC + 128.0 * (double)(2 * cell - (length - 1)) + level_of(call.basis);
            const double coordinate = call.offsets[a] + call.strides[a] * (double)cell - middle[a];
            std::fill_n(rows[a] + cell * repeat, repeat, (float)(task.is_in_bytes ? in_bytes : coordinate));
        }
        for (int64_t i = period; i < call.num_cells; i += period) std::copy_n(rows[a], period, rows[a] + i);
        std::fill(rows[a] + call.num_cells, rows[a] + task.row, task.is_in_bytes ? MAGIC : 0.0f);
        repeat = period;
    }
}

Worker worker_of(int32_t isa) {
#if defined(HP_X86)
    if (isa == HP_ISA_AVX512) return worker_avx512;
    if (isa == HP_ISA_AVX2) return worker_avx2;
#endif
    return isa == HP_ISA_PORTABLE ? worker_portable : nullptr;
}

// Maps with one noise go to the threads in equal parts of a group, few enough that the noise is not made too often.
void divide_groups(Task &task, int64_t threads) {
    const int64_t maps = task.call->maps_per_group, groups = task.call->num_maps / maps;
    const int64_t asked = (threads + groups - 1) / groups, needed = (maps + UNIT - 1) / UNIT;
    const int64_t parts = asked > needed ? asked : needed, unit = (maps + parts - 1) / parts;
    // Whole passes: which maps are summed together, whatever the compiler makes of it, does not depend on the number of threads.
    task.unit = (unit + TOGETHER - 1) / TOGETHER * TOGETHER;
    task.units_per_group = (maps + task.unit - 1) / task.unit;
}

}  // namespace
}  // namespace heatpoint

using namespace heatpoint;

extern "C" int32_t hp_abi_version(void) { return HP_ABI_VERSION; }

extern "C" int64_t hp_sampling_size(void) { return (int64_t)sizeof(hp_sampling); }

extern "C" int32_t hp_best_isa(void) {
#if defined(HP_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"))
        return HP_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return HP_ISA_AVX2;
#endif
    return HP_ISA_PORTABLE;
}

extern "C" int32_t hp_sampling_argmax(hp_sampling *call) {
    call->num_forbidden = call->num_undefined = 0;
    if (call->num_maps == 0) return HP_OK;  // whose arrays may be null
    if (!is_sound(*call)) return HP_BAD_ARGUMENT;
    const int32_t best = hp_best_isa(), isa = call->isa == HP_ISA_AUTO ? best : call->isa;
    const Worker work = isa <= best ? worker_of(isa) : nullptr;
    if (!work) return HP_NO_ISA;

    Task task{};
    task.call = call;
    task.row = padded(call->num_cells);
    // Below COLD the weights of the noise alone overflow: each map makes the noise anew, with its own weights in the log domain.
    const bool is_shared = call->maps_per_group > 1 && call->temperature >= COLD;
    task.is_in_bytes = is_in_bytes(*call, is_shared);
    if (call->points) call->lengths[0] = call->lengths[1] = call->lengths[2] = 1;
    const bool has_one_support = !call->points || !call->cloud_of_map;
    const int64_t stride = Rows::stride(task.row);
    Floats centers(has_one_support ? 3 * stride : 1);
    if (!centers.get()) return HP_NO_MEMORY;
    if (has_one_support) {
        float *const rows[3] = {centers.get(), centers.get() + stride, centers.get() + 2 * stride};
        if (call->points)
            fill_centers(call->points, call->num_cells, call->ndim, task.row, rows[0], rows[1], rows[2], task.middle);
        else
            fill_grid(*call, task, rows, task.middle);
        task.centers = centers.get();
    }

    // A thread is worth its start from some ten thousand draws on.
    const double draws = (double)call->num_maps * (double)call->num_cells * (double)call->num_samples;
    int64_t threads = useful_threads(call->num_threads, call->num_maps, draws, 65536);
    int64_t room = Rows::total(task.row, longest_axis(*call));
    if (is_shared) {
        divide_groups(task, threads);
        const int64_t units = call->num_maps / call->maps_per_group * task.units_per_group;
        threads = threads < units ? threads : units;
        room += Rows::of_units(task.row, task.unit);
    }

    std::atomic<int64_t> working{0};
    on_threads(threads, [&] {
        Floats memory(room);
        if (!memory.get()) return;
        working.fetch_add(1);
        const NoDenormals guard;
        work(task, memory.get());
    });
    call->num_forbidden = task.num_forbidden.load();
    call->num_undefined = task.num_undefined.load();
    return working.load() > 0 ? HP_OK : HP_NO_MEMORY;
}
