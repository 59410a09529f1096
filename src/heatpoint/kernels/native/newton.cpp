// DARK at the cells around the peaks: blur, logarithm, one Newton step; nothing of the size of a map.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "heatpoint_native.h"
#include "threads.hpp"

namespace heatpoint {
namespace {

constexpr int MOST_REACH = 2, MOST_SIDE = 2 * MOST_REACH + 1;

// The blurred neighbourhood of a cell, x fastest.
struct Patch {
    const hp_newton &call;
    int64_t center[3] = {}, side[3] = {1, 1, 1}, taken[3] = {1, 1, 1};  // sides of the patch after and before the blur
    float values[MOST_SIDE * MOST_SIDE * MOST_SIDE];

    explicit Patch(const hp_newton &c) : call(c) {
        for (int a = 0; a < c.ndim; ++a) {
            side[a] = 2 * c.curvature_step + 1;
            taken[a] = side[a] + c.num_taps - 1;
        }
    }

    int64_t room() const { return taken[0] * taken[1] * taken[2]; }

    // Cell of an axis at a distance from the centre, −1 if there is none.
    int64_t cell(int axis, int64_t distance) const {
        const int64_t at = center[axis] + distance, length = call.lengths[axis];
        if (call.cyclic[axis]) return (at % length + length) % length;
        return at >= 0 && at < length ? at : -1;
    }

    // Values of the map, 0 beyond a straight border.
    void take(const float *map, float *into) const {
        const int64_t x0 = center[0] - taken[0] / 2;
        const bool is_inside = x0 >= 0 && x0 + taken[0] <= call.lengths[0];
        for (int64_t z = 0; z < taken[2]; ++z)
            for (int64_t y = 0; y < taken[1]; ++y, into += taken[0]) {
                const int64_t cz = cell(2, z - taken[2] / 2), cy = cell(1, y - taken[1] / 2);
                if (cz < 0 || cy < 0) {
                    std::fill(into, into + taken[0], 0.0f);
                    continue;
                }
                const float *row = map + (cz * call.lengths[1] + cy) * call.lengths[0];
                for (int64_t x = 0; x < taken[0]; ++x) {
                    const int64_t cx = is_inside ? x0 + x : cell(0, x - taken[0] / 2);
                    const float value = cx < 0 ? 0.0f : row[cx];
                    into[x] = value == -INFINITY ? (float)call.floor : value;
                }
            }
    }

    // Blurs along x, then y, then z, in place: what is written lies before what is still read.
    void blur(float *from) {
        int64_t before = 1, after = room();
        for (int a = 0; a < call.ndim; ++a) {
            after /= taken[a];
            for (int64_t outer = 0; outer < after; ++outer)
                for (int64_t i = 0; i < side[a]; ++i)
                    for (int64_t inner = 0; inner < before; ++inner) {
                        float sum = 0;
                        const float *row = from + (outer * taken[a] + i) * before + inner;
                        for (int64_t t = 0; t < call.num_taps; ++t) sum += row[t * before] * call.taps[t];
                        from[(outer * side[a] + i) * before + inner] = sum;
                    }
            before *= side[a];
        }
        std::memcpy(values, from, (size_t)before * sizeof(float));
    }

    // The least of the blurred cells that exist; NaN if one is.
    float least() const {
        float found = INFINITY;
        for (int64_t z = 0; z < side[2]; ++z)
            for (int64_t y = 0; y < side[1]; ++y)
                for (int64_t x = 0; x < side[0]; ++x) {
                    if (cell(0, x - side[0] / 2) < 0 || cell(1, y - side[1] / 2) < 0 || cell(2, z - side[2] / 2) < 0) continue;
                    const float value = values[(z * side[1] + y) * side[0] + x];
                    if (!(value >= found)) found = value;
                    if (value != value) return value;
                }
        return found;
    }

    // The logarithm at an offset from the centre; beyond a straight border that of its last cell.
    double log_at(const int64_t offset[3]) const {
        int64_t place = 0;
        for (int a = 2; a >= 0; --a) {
            int64_t move = offset[a];
            if (!call.cyclic[a]) move = std::min(std::max(center[a] + move, INT64_C(0)), call.lengths[a] - 1) - center[a];
            place = place * side[a] + move + side[a] / 2;
        }
        const float value = values[place], least = (float)call.floor, most = (float)call.ceiling;
        return (double)std::log(value < least ? least : value > most ? most : value);
    }

    double at(int a, int64_t i, int b = 0, int64_t j = 0) const {
        int64_t offset[3] = {};
        offset[a] += i;
        offset[b] += j;
        return log_at(offset);
    }
};

// Solves H s = −g by elimination; false if H is singular.
bool solve(double h[3][3], double g[3], int n) {
    for (int c = 0; c < n; ++c) {
        int pivot = c;
        for (int r = c + 1; r < n; ++r)
            if (std::abs(h[r][c]) > std::abs(h[pivot][c])) pivot = r;
        if (h[pivot][c] == 0 || h[pivot][c] != h[pivot][c]) return false;
        std::swap(g[c], g[pivot]);
        for (int k = 0; k < n; ++k) std::swap(h[c][k], h[pivot][k]);
        for (int r = c + 1; r < n; ++r) {
            const double factor = h[r][c] / h[c][c];
            for (int k = c; k < n; ++k) h[r][k] -= factor * h[c][k];
            g[r] -= factor * g[c];
        }
    }
    for (int c = n - 1; c >= 0; --c) {
        for (int k = c + 1; k < n; ++k) g[c] -= h[c][k] * g[k];
        g[c] /= h[c][c];
    }
    for (int c = 0; c < n; ++c) g[c] = -g[c];
    return true;
}

double mixed(const Patch &p, int a, int b, double here) {
    if (p.call.one_sided_cross) {
        const double ahead = p.at(a, 1, b, 1) - p.at(a, 1) - p.at(b, 1);
        const double behind = p.at(a, -1, b, -1) - p.at(a, -1) - p.at(b, -1);
        return (ahead + 2 * here + behind) / 2;
    }
    return (p.at(a, 1, b, 1) + p.at(a, -1, b, -1) - p.at(a, 1, b, -1) - p.at(a, -1, b, 1)) / 4;
}

// The step of a patch along the axes that are expanded, 0 along the others; false where there is none.
bool newton(const Patch &p, const int *axes, int n, double step[3]) {
    const int64_t s = p.call.curvature_step;
    const double here = p.at(0, 0);
    double h[3][3], g[3];
    for (int i = 0; i < n; ++i) {
        const int a = axes[i];
        g[i] = (p.at(a, 1) - p.at(a, -1)) / 2;
        h[i][i] = (p.at(a, s) - 2 * here + p.at(a, -s)) / (double)(s * s) + p.call.ridge;
        for (int j = 0; j < i; ++j) h[i][j] = h[j][i] = mixed(p, a, axes[j], here);
    }
    if (!solve(h, g, n)) return false;
    for (int i = 0; i < n; ++i) step[axes[i]] = p.call.moves_inwards ? std::min(std::max(g[i], -1.5), 1.5) : g[i];
    return true;
}

void step_of_map(const hp_newton &call, int64_t m, Patch &patch, float *room) {
    const float *map = call.maps + m * call.lengths[0] * call.lengths[1] * call.lengths[2];
    float *cells = call.cells + m * call.ndim;
    int axes[3], num_axes = 0;
    bool may_move = true;
    int64_t index = call.peaks[m];
    const float largest = map[index];
    for (int a = 0; a < call.ndim; ++a) {
        const int64_t length = call.lengths[a], at = index % length;
        index /= length;
        cells[a] = (float)at;
        patch.center[a] = at;
        if (!call.cyclic[a]) may_move &= at >= call.margin && at < length - call.margin;
        const bool is_expanded = call.cyclic[a] || length > 2;
        if (call.moves_inwards && !call.cyclic[a] && is_expanded)
            patch.center[a] = std::min(std::max(at, INT64_C(1)), length - 2);
        if (is_expanded || !call.moves_inwards) axes[num_axes++] = a;
    }
    call.suffices[m] = 1;
    if (!may_move) return;
    patch.take(map, room);
    patch.blur(room);
    // Rescaling a map to its old maximum adds a constant to its logarithm, which no derivative sees, unless a value is clamped.
    const bool is_bounded = std::isfinite(largest) && largest <= call.ceiling && patch.least() >= (float)call.floor;
    call.suffices[m] = is_bounded || call.num_taps == 1;
    double step[3] = {};
    if (!call.suffices[m] || !newton(patch, axes, num_axes, step)) return;
    for (int a = 0; a < call.ndim; ++a) cells[a] = (float)((double)patch.center[a] + step[a]);
}

bool is_sound(const hp_newton &c) {
    if (!c.maps || !c.peaks || !c.taps || !c.cells || !c.suffices || c.num_maps < 0 || c.ndim < 1 || c.ndim > 3) return false;
    for (int a = 0; a < 3; ++a)
        if (c.lengths[a] < 1 || (a >= c.ndim && (c.lengths[a] != 1 || c.cyclic[a]))) return false;
    return c.num_taps >= 1 && c.num_taps % 2 == 1 && c.curvature_step >= 1 && c.curvature_step <= MOST_REACH;
}

}  // namespace
}  // namespace heatpoint

using namespace heatpoint;

extern "C" int64_t hp_newton_size(void) { return (int64_t)sizeof(hp_newton); }

extern "C" int32_t hp_newton_step(hp_newton *call) {
    if (!is_sound(*call)) return HP_BAD_ARGUMENT;
    const int64_t room = Patch(*call).room(), part = 64;
    const int64_t threads = useful_threads(call->num_threads, call->num_maps, (double)call->num_maps * (double)room, 1 << 15);
    std::atomic<int64_t> next{0}, working{0};
    on_threads(threads, [&] {
        Floats memory(room);
        if (!memory.get()) return;
        working.fetch_add(1);
        Patch patch(*call);
        for (;;) {
            const int64_t first = next.fetch_add(part, std::memory_order_relaxed);
            if (first >= call->num_maps) return;
            for (int64_t m = first; m < std::min(first + part, call->num_maps); ++m) step_of_map(*call, m, patch, memory.get());
        }
    });
    return working.load() > 0 ? HP_OK : HP_NO_MEMORY;
}
