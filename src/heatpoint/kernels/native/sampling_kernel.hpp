// Sampling-argmax, forward and gradient together, of one map after the other; compiled once per instruction set. Maps that have
// one noise are taken together where that can be: sampling_shared.hpp.
//
// A sample's weight of cell i is (p_i / E_i)^(1/τ) (paper) or p_i E_i^(−1/τ) (released), E_i = −log u_i, up to a factor that
// cancels in the ratio: softmax((log p + g) / τ) with the Gumbel draw g = −log E, without two logarithms. Weights are kept until
// the sample's point and with it the slope of the distance are known; then
//     ∂d/∂h_i = (w_i / Σw) Σ_a d'_a (c_ai + e_ai − Y_a) / τ   (released: without the τ)
// is added to the map's gradient. Nothing of size samples x cells exists, and a map's result depends on no other map.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#include "sampling_call.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace heatpoint {
namespace HP_ISA {
namespace {

#include "vectors.hpp"
#include "exponent.hpp"
#include "philox.hpp"
#include "sampling_map.hpp"
#include "noise.hpp"
#include "sampling_weights.hpp"
#include "sampling_gradient.hpp"
#include "sampling_offsets.hpp"
#include "sampling_released.hpp"

// Centres of the map's own cloud, less their mean, so that no digits are lost far from the origin.
template <int D>
static void center_cloud(Map &m) {
    const hp_sampling &call = *m.call;
    const int64_t cloud = call.cloud_of_map ? call.cloud_of_map[m.index] : 0;
    fill_centers(call.points + cloud * call.num_cells * D, call.num_cells, D, m.task->row, m.row(ROW_CENTERS),
                 m.row(ROW_CENTERS + 1), m.row(ROW_CENTERS + 2), m.middle);
    for (int a = 0; a < D; ++a) m.centers[a] = m.row(ROW_CENTERS + a);
}

static void fail_map(const Map &m) {
    const hp_sampling &call = *m.call;
    const int64_t n = call.num_cells, D = call.ndim;
    if (call.loss) call.loss[m.index] = NAN;
    for (int64_t i = 0; call.logits_gradient && i < n; ++i) call.logits_gradient[m.index * n + i] = NAN;
    for (int64_t a = 0; a < D; ++a) {
        if (call.target_gradient) call.target_gradient[m.index * D + a] = NAN;
        for (int64_t s = 0; call.samples && s < call.num_samples; ++s)
            call.samples[(s * call.num_maps + m.index) * D + a] = NAN;
    }
}

// How one map is worked on, whatever the sample.
struct Plan {
    bool by_axes, is_displaced, needs_gradient;
    int at_once;  // samples that wait for each other, unless each waits for the next: those of a map alone that has a basis

    // Of `maps` maps at a time.
    Plan(const Map &m, int64_t maps) {
        const hp_sampling &call = *m.call;
        by_axes = call.formula == HP_FORMULA_RELEASED && call.basis != HP_BASIS_NONE;
        is_displaced = !by_axes && call.basis != HP_BASIS_NONE;
        needs_gradient = call.logits_gradient != nullptr;
        // Samples of large maps do not wait for others: they would neither fit the cache nor take less room than the maps. A map
        // alone adds as many as it can in one pass, or each by itself.
        const int64_t rows = is_displaced ? 1 + call.ndim : 1;
        at_once = WAITING;
        while (at_once > 1 && at_once * rows * m.task->row > KEPT && 2 * at_once * rows > maps) at_once /= maps > 1 ? 2 : WAITING;
    }
};

// Makes what the streams need, and the words of the first sample's first weights.
template <class STREAM>
static void prepare_noise(const Map &m, const Plan &plan, Words &ahead) {
    STREAM::prepare(m, 0, m.task->row);
    STREAM(m, 0, 0).words(0, ahead.of[0]);
    if (m.call->basis == HP_BASIS_NONE) return;
    const int64_t cells = plan.by_axes ? padded(longest_axis(*m.call)) : m.task->row;
    for (uint32_t stream = 1; stream <= 2; ++stream) STREAM::prepare(m, stream, cells);
}

template <int BASIS, int D, class STREAM>
static void displace_after(const Map &m, uint32_t sample, const float *weights, float *const positions[3], const Before *before,
                           Moments &moments) {
    if constexpr (BASIS != HP_BASIS_GAUSSIAN && !STREAM::IS_LATTICE) {
        if (m.task->is_in_bytes) {
            if (before) return displace_by_bytes<BASIS, D, true>(m, sample, weights, before, moments);
            return displace_by_bytes<BASIS, D, false>(m, sample, weights, before, moments);
        }
    }
    if (before) return displace<BASIS, D, STREAM, true>(m, sample, weights, positions, before, moments);
    displace<BASIS, D, STREAM, false>(m, sample, weights, positions, before, moments);
}

// Positions into the room `at` of those for positions, or in bytes words into that of every other sample, for the weights in the
// room `waiting`.
template <int D, class STREAM>
static void displace_sample(const Map &m, uint32_t sample, int waiting, int at, const Before *before,
                            Moments &moments) {
    const float *weights = m.row(ROW_WEIGHTS + waiting);
    float *positions[3];
    for (int a = 0; a < 3; ++a) positions[a] = m.row(ROW_POSITIONS + 3 * at + a);
    switch (m.call->basis) {
        case HP_BASIS_UNIFORM:
            return displace_after<HP_BASIS_UNIFORM, D, STREAM>(m, sample, weights, positions, before, moments);
        case HP_BASIS_TRIANGULAR:
            return displace_after<HP_BASIS_TRIANGULAR, D, STREAM>(m, sample, weights, positions, before, moments);
        default: return displace_after<HP_BASIS_GAUSSIAN, D, STREAM>(m, sample, weights, positions, before, moments);
    }
}

// What the samples' points give beside the gradient of the logits.
struct Totals {
    double loss = 0, target_gradient[3] = {0, 0, 0};

    // Adds a sample whose positions lack their rest, writes its point, and finds what it adds to the gradient of a cell. In bytes,
    // positions are 256ths of a cell, and what is taken off them a whole number, so that their difference is exact.
    void add(const Map &m, int64_t sample, const Weighed &moments, const std::array<float, 3> &rest, Slope &found) {
        const hp_sampling &call = *m.call;
        const int D = call.ndim;
        const bool is_in_bytes = m.task->is_in_bytes;
        const int64_t place = (sample * call.num_maps + m.index) * D;
        double at[3], point[3], slope[3] = {0, 0, 0}, unit[3] = {1, 1, 1};
        for (int a = 0; a < D; ++a) {
            at[a] = moments.position[a] / moments.weight;
            if (is_in_bytes) unit[a] = (double)BYTE * call.strides[a];
            point[a] = m.middle[a] + unit[a] * at[a];
            if (rest[a] != 0) point[a] += call.strides[a] * (double)rest[a];
            if (call.samples) call.samples[place + a] = (float)point[a];
        }
        if (call.target) loss += distance_of(m, point, slope);
        double constant = 0;
        for (int a = 0; a < D; ++a) {
            target_gradient[a] -= slope[a];
            const double factor = call.sample_gradient ? call.sample_gradient[place + a] : slope[a];
            found.factor[a] = (float)(factor * unit[a] / moments.weight);
            found.point[a] = (float)(is_in_bytes ? std::nearbyint(at[a]) : at[a]);
            constant -= found.factor[a] * (at[a] - found.point[a]);
        }
        found.constant = (float)constant;
    }

    void write(const Map &m) const {
        const hp_sampling &call = *m.call;
        const double mean = 1.0 / (double)call.num_samples;
        if (call.loss) call.loss[m.index] = (float)(loss * mean);
        for (int a = 0; call.target_gradient && a < call.ndim; ++a)
            call.target_gradient[m.index * call.ndim + a] = (float)(target_gradient[a] * mean);
    }
};

// What the sum of the samples' gradients with respect to log weights is multiplied by.
static float gradient_scale(const hp_sampling &call) {
    const double per_logit = call.formula == HP_FORMULA_PAPER ? 1 / call.temperature : 1.0;
    return (float)(call.sample_gradient ? per_logit : per_logit / (double)call.num_samples);
}

// Where the gradient of a map goes, W cells at a time. What is too large to stay in the caches until somebody reads it goes past
// them: they need not fetch first what is written over.
class Output {
  public:
    explicit Output(const Map &m)
        : n(m.call->num_cells), out(m.call->logits_gradient + m.index * n), scale(gradient_scale(*m.call)) {
        is_streamed = n >= STREAMED && n % W == 0 && (uintptr_t)out % sizeof(vf) == 0;
    }
    ~Output() {
        if (is_streamed) after_streams();
    }
    Output(const Output &) = delete;

    // Of the W cells from i on, of their sums over the samples.
    inline HP_INLINE void put(int64_t i, vf sum) const {
        const vf x = scale * sum;
        if (i + W > n) {
            if (i < n) std::memcpy(out + i, &x, (n - i) * sizeof(float));
        } else if (is_streamed) {
            stream(out + i, x);
        } else {
            store_anywhere(out + i, x);
        }
    }

  private:
    static constexpr int64_t STREAMED = 1 << 15;  // cells of a map; smaller ones are not streamed, however many they are
    int64_t n;
    float *out, scale;
    bool is_streamed;
};

// Writes the gradient of the map, of the sum so far and what the last sample adds to it.
template <int D>
static void write_last_gradient(const Map &m, const Before &last) {
    const Output output(m);
    const int own = (int)((m.call->num_samples - 1) % 2);
    const auto put = [&](int64_t i, vf sum) HP_INLINE { output.put(i, sum); };
    if (!m.task->is_in_bytes) return add_gradients<D, 1, true>(m, own, 0, &last.slope, put);
    if (m.call->basis == HP_BASIS_UNIFORM) return add_by_bytes<HP_BASIS_UNIFORM, D>(m, last, own, put);
    add_by_bytes<HP_BASIS_TRIANGULAR, D>(m, last, own, put);
}

// All samples of a map whose cells' sub-samples have positions of their own: each gives its gradient when the next one's positions
// are made, so that there is room for one sample's positions only, or for the words of two.
template <int D, class STREAM>
static void run_displaced(Map &m, const Plan &plan, Words &ahead, Totals &totals) {
    const int64_t number = m.call->num_samples;
    Rests rests(m);
    Moments last;
    Before before;
    const auto finish = [&](int64_t sample) {
        last.template settle<D>();
        totals.add(m, sample, last, rests.of(sample), before.slope);
        before.weights = m.row(ROW_WEIGHTS + (int)(sample % 2));
    };
    for (int64_t sample = 0; sample < number; ++sample) {
        Moments moments{};
        const int own = (int)(sample % 2);
        weigh_sample<0, STREAM>(m, (uint32_t)sample, m.row(ROW_WEIGHTS + own), ahead, moments);
        if (sample) finish(sample - 1);
        displace_sample<D, STREAM>(m, (uint32_t)sample, own, 0, sample && plan.needs_gradient ? &before : nullptr, moments);
        last = moments;
    }
    finish(number - 1);
    if (plan.needs_gradient) write_last_gradient<D>(m, before);
}

// All samples of a map by the released formula: each is finished when the next one's weights are made, beside which the many
// dependent steps from its sums to its slopes can go on.
template <int D, class STREAM>
static void run_by_axes(Map &m, const Plan &plan, Words &ahead, Totals &totals) {
    const int64_t number = m.call->num_samples;
    Axes axes(m, m.row(ROW_AXES));
    Rests rests(m);
    const auto weights_of = [&](int64_t sample) { return m.row(ROW_WEIGHTS + (int)(sample % 2)); };
    const auto finish = [&](int64_t sample) {
        Slope slope;
        totals.add(m, sample, locate_by_axes<D>(axes), NO_REST, slope);
        if (plan.needs_gradient) add_marginal_gradients<D>(axes, weights_of(sample), slope, m.row(ROW_GRADIENT));
    };
    for (int64_t sample = 0; sample < number; ++sample) {
        float *weights = weights_of(sample);
        Moments moments{};  // of the weights alone, which nobody needs
        weigh_sample<0, STREAM>(m, (uint32_t)sample, weights, ahead, moments);
        if (sample) finish(sample - 1);
        draw_lines<D, STREAM>(m, (uint32_t)sample, rests.of(sample), axes);
        sum_by_axes<D>(axes, weights);
    }
    finish(number - 1);
}

// All samples of another map.
template <int D, class STREAM>
static void run_samples(Map &m, const Plan &plan, Words &ahead, Totals &totals) {
    Moments moments[WAITING];
    Slope slopes[WAITING];
    for (int64_t first = 0; first < m.call->num_samples; first += plan.at_once) {
        const int64_t left = m.call->num_samples - first;
        const int count = left < plan.at_once ? (int)left : plan.at_once;
        for (int s = 0; s < count; ++s) {
            moments[s] = Moments{};
            weigh_sample<D, STREAM>(m, (uint32_t)(first + s), m.row(ROW_WEIGHTS + s), ahead, moments[s]);
        }
        for (int s = 0; s < count; ++s) {
            moments[s].template settle<D>();
            totals.add(m, first + s, moments[s], NO_REST, slopes[s]);
        }
        if (!plan.needs_gradient) continue;
        if (count == WAITING)
            add_gradients<D, WAITING, false>(m, 0, 0, slopes);
        else
            for (int s = 0; s < count; ++s) add_gradients<D, 1, false>(m, s, 0, slopes + s);
    }
}

template <int D, class STREAM>
static void run_map(Map &m) {
    if (!prepare(m, m.row(ROW_BASE))) return fail_map(m);
    if (m.call->points && !m.task->centers) center_cloud<D>(m);
    const Plan plan(m, 1);
    Words ahead;
    prepare_noise<STREAM>(m, plan, ahead);
    if (plan.needs_gradient) std::memset(m.row(ROW_GRADIENT), 0, m.task->row * sizeof(float));
    Totals totals;
    if (plan.is_displaced)
        run_displaced<D, STREAM>(m, plan, ahead, totals);
    else if (plan.by_axes)
        run_by_axes<D, STREAM>(m, plan, ahead, totals);
    else
        run_samples<D, STREAM>(m, plan, ahead, totals);
    totals.write(m);
    if (!plan.needs_gradient || plan.is_displaced) return;  // run_displaced has written it
    const Output output(m);
    for (int64_t i = 0; i < m.task->row; i += W) output.put(i, load(m.row(ROW_GRADIENT) + i));
}

template <class STREAM>
static void run(Map &m) {
    switch (m.call->ndim) {
        case 1: return run_map<1, STREAM>(m);
        case 2: return run_map<2, STREAM>(m);
        default: return run_map<3, STREAM>(m);
    }
}

#include "sampling_shared.hpp"

static Power power_of(double temperature) {
    if (temperature < COLD) return LOGARITHMIC;
    if (temperature == 2) return INVERSE_ROOT;
    if (temperature == 1) return INVERSE;
    return temperature == 0.5 ? INVERSE_SQUARE : GENERAL;
}

}  // namespace
}  // namespace HP_ISA

#define HP_WORKER_NAME(isa) worker_##isa
#define HP_WORKER(isa) HP_WORKER_NAME(isa)

void HP_WORKER(HP_ISA)(Task &task, float *room) {
    using namespace HP_ISA;
    Map m{&task, task.call, Rows{room, task.row}, Keys(task.call->seed), 0, 0, {}, {}, GENERAL, 0, {}, 0};
    m.power = power_of(task.call->temperature);
    m.exponent = (float)(1 / task.call->temperature);
    if (m.power == LOGARITHMIC) {
        m.cold = exponent_of(1 / (task.call->temperature * LOG2_E * (1 << FIXED_BITS)), 0, LEAST_BITS);
        m.least_distance = (int32_t)(FLUSHED_BITS / m.cold.high) - 1;
    }
    for (int a = 0; a < 3; ++a) {
        m.middle[a] = task.middle[a];
        m.centers[a] = task.centers ? task.centers + a * Rows::stride(task.row) : nullptr;
    }
    if (task.units_per_group) return run_units(m);
    const int64_t sharing = task.call->maps_per_group > 1 ? task.call->maps_per_group : 1;
    for (;;) {
        m.index = task.next.fetch_add(1, std::memory_order_relaxed);
        if (m.index >= task.call->num_maps) return;
        m.noise = (uint32_t)(m.index / sharing);
        task.call->modulus ? run<Lattice>(m) : run<Independent>(m);
    }
}

}  // namespace heatpoint
