// Group norm of the autoencoder, channels last, with an optional SiLU behind it.
#include <vector>

#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

struct Shape4 {
    int64_t batch, pixels, channels, groups;

    int64_t chunk_pixels() const { return std::max<int64_t>(1, kBlockElements / channels); }
    int64_t chunks() const { return (pixels + chunk_pixels() - 1) / chunk_pixels(); }
    int64_t group_channels() const { return channels / groups; }
};

// Count, mean and sum of squared deviations of a set of elements; merge() is Chan's update.
struct Moments {
    double count = 0, mean = 0, squares = 0;

    void merge(const Moments& other) {
        if (other.count == 0) return;
        double all = count + other.count, delta = other.mean - mean;
        squares += other.squares + delta * delta * count * other.count / all;
        mean += delta * other.count / all;
        count = all;
    }
};

// total[c] = sum of x[c], or of (x[c] - mean[c])^2, over the pixels of a chunk.
template <class T>
void sum_channels(const T* x, int64_t pixels, int64_t channels, float* total) {
    std::fill(total, total + channels, 0.f);
    for (int64_t p = 0; p < pixels; p++)
        for_vectors(channels, [&](int64_t c, auto lanes) {
            store(total + c, load(total + c, lanes) + load(x + p * channels + c, lanes), lanes);
        });
}
template <class T>
void sum_squares(const T* x, int64_t pixels, int64_t channels, const float* mean, float* total) {
    std::fill(total, total + channels, 0.f);
    for (int64_t p = 0; p < pixels; p++)
        for_vectors(channels, [&](int64_t c, auto lanes) {
            Vec centred = load(x + p * channels + c, lanes) - load(mean + c, lanes);
            store(total + c, fma(centred, centred, load(total + c, lanes)), lanes);
        });
}

// Moments of each group within one chunk of pixels. `work` holds 2 * channels floats.
template <class T>
void chunk_moments(const T* x, int64_t pixels, const Shape4& s, float* work, Moments* groups) {
    float *total = work, *mean = work + s.channels;
    int64_t n = s.group_channels();
    sum_channels(x, pixels, s.channels, total);
    for (int64_t g = 0; g < s.groups; g++) {
        double sum = 0;
        for (int64_t c = g * n; c < (g + 1) * n; c++) sum += total[c];
        groups[g].count = double(pixels * n);
        groups[g].mean = sum / groups[g].count;
        std::fill(mean + g * n, mean + (g + 1) * n, float(groups[g].mean));
    }
    sum_squares(x, pixels, s.channels, mean, total);
    for (int64_t g = 0; g < s.groups; g++) {
        groups[g].squares = 0;
        for (int64_t c = g * n; c < (g + 1) * n; c++) groups[g].squares += total[c];
    }
}

}  // namespace

// (x[B,h,w,C], w[C], b[C]) {groups, eps, silu} -> y = (x - mean) / sqrt(variance + eps) * w + b, then silu when asked
// for. Statistics are those of one sample and one group of channels.
void op_group_norm(const KernelArgs& k) {
    const Tensor& x = k.in[0];
    Shape4 s{x.dim(0), x.dim(1) * x.dim(2), x.dim(3), int64_t(k.attr("groups"))};
    double eps = k.attr("eps");
    bool silu = k.attr("silu", 0) != 0;
    int64_t chunks = s.chunks(), tickets = s.batch * chunks;
    std::vector<Moments> moments(size_t(tickets * s.groups));
    std::vector<float> work(size_t(k.pool.threads() * 2 * s.channels)), factors(size_t(s.batch * 2 * s.channels));
    with_types(
        [&](const auto* x, const auto* weight, const auto* bias, auto* y) {
            auto range = [&](int64_t ticket) {
                int64_t begin = ticket % chunks * s.chunk_pixels();
                return std::pair{ticket / chunks * s.pixels + begin, std::min(s.chunk_pixels(), s.pixels - begin)};
            };
            k.pool.run(tickets, [&](int64_t ticket, int thread) {
                auto [first, pixels] = range(ticket);
                chunk_moments(x + first * s.channels, pixels, s, &work[size_t(thread * 2 * s.channels)],
                              &moments[size_t(ticket * s.groups)]);
            });
            for (int64_t b = 0; b < s.batch; b++) {
                float *factor = &factors[size_t(b * 2 * s.channels)], *offset = factor + s.channels;
                for (int64_t g = 0; g < s.groups; g++) {
                    Moments all;
                    for (int64_t i = 0; i < chunks; i++) all.merge(moments[size_t((b * chunks + i) * s.groups + g)]);
                    double rstd = 1.0 / std::sqrt(all.squares / all.count + eps);
                    for (int64_t c = g * s.group_channels(); c < (g + 1) * s.group_channels(); c++) {
                        factor[c] = float(rstd * to_float(weight[c]));
                        offset[c] = float(to_float(bias[c]) - all.mean * rstd * to_float(weight[c]));
                    }
                }
            }
            k.pool.run(tickets, [&](int64_t ticket, int) {
                auto [first, pixels] = range(ticket);
                const float *factor = &factors[size_t(ticket / chunks * 2 * s.channels)], *offset = factor + s.channels;
                for (int64_t p = first; p < first + pixels; p++) {
                    for_vectors(s.channels, [&](int64_t c, auto lanes) {
                        int64_t at = p * s.channels + c;
                        Vec v = fma(load(x + at, lanes), load(factor + c, lanes), load(offset + c, lanes));
                        store(y + at, silu ? v * sigmoid(v) : v, lanes);
                    });
                }
            });
        },
        x, k.in[1], k.in[2], k.out[0]);
}

}  // namespace stepd::STEPD_ISA
