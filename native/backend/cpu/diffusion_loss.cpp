// The training loss: l2, huber or smooth l1 between prediction and target, weighted per sample, and its gradient.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

constexpr int64_t kChunk = 4096;  // elements summed by one ticket

enum LossKind { kL2 = 0, kHuber = 1, kSmoothL1 = 2 };

// With e = prediction - target and r = sqrt(e^2 + c^2), the loss of one element is
//   l2: e^2    huber: 2c (r - c)    smooth l1: 2 (r - c)
// and its derivative 2e, 2c e/r, 2 e/r. r - c is computed as e^2 / (r + c), which does not cancel for small e.
struct ElementLoss {
    int kind;
    Vec c;

    ElementLoss(int kind, float c) : kind(kind), c(set1(c)) {}
    Vec factor() const { return kind == kHuber ? set1(2.f) * c : set1(2.f); }
    Vec value(Vec e) const {
        if (kind == kL2) return e * e;
        Vec square = e * e;
        return factor() * square / max(sqrt(fma(c, c, square)) + c, set1(1e-37f));
    }
    Vec derivative(Vec e) const {
        if (kind == kL2) return set1(2.f) * e;
        return factor() * e / max(sqrt(fma(c, c, e * e)), set1(1e-37f));
    }
};

float threshold(const Tensor& c, int64_t sample) { return c ? c.f32()[sample] : 0.f; }

}  // namespace

// (pred[B,C,h,w], target, weight[B] f32, c[B] f32) {kind} -> loss[1] f32, per_sample[B] f32
// per_sample = weight * mean over C,h,w; loss = mean of per_sample over the batch.
void op_diffusion_loss(const KernelArgs& k) {
    int64_t batch = k.in[0].dim(0), size = k.in[0].numel() / batch;
    int64_t chunks = (size + kChunk - 1) / kChunk;
    int kind = int(k.attr("kind"));
    auto* partials = static_cast<float*>(k.pool.scratch(0, size_t(batch * chunks) * sizeof(float)));
    with_types(
        [&](const auto* pred, const auto* target) {
            k.pool.run(batch * chunks, [&](int64_t ticket, int) {
                int64_t b = ticket / chunks, begin = ticket % chunks * kChunk, end = std::min(size, begin + kChunk);
                ElementLoss loss(kind, threshold(k.in[3], b));
                Vec total = set1(0.f);
                for_vectors(end - begin, [&](int64_t i, auto lanes) {
                    int64_t at = b * size + begin + i;
                    total += loss.value(load(pred + at, lanes) - load(target + at, lanes));
                });
                partials[ticket] = sum(total);
            });
        },
        k.in[0], k.in[1]);
    double loss = 0;
    for (int64_t b = 0; b < batch; b++) {
        double total = 0;
        for (int64_t i = 0; i < chunks; i++) total += partials[b * chunks + i];
        double sample = total / double(size) * k.in[2].f32()[b];
        k.out[1].f32()[b] = float(sample);
        loss += sample;
    }
    k.out[0].f32()[0] = float(loss / double(batch));
}

// (dloss[1] f32, pred, target, weight, c) {kind} -> dpred
void op_diffusion_loss_bwd(const KernelArgs& k) {
    const Tensor& pred = k.in[1];
    int64_t batch = pred.dim(0), size = pred.numel() / batch;
    int kind = int(k.attr("kind"));
    with_types(
        [&](const auto* pred, const auto* target, auto* dpred) {
            for_blocks(k.pool, batch, size, [&](int64_t b, int64_t b_end, int64_t col, int64_t col_end) {
                for (; b < b_end; b++) {
                    ElementLoss loss(kind, threshold(k.in[4], b));
                    Vec factor = set1(k.in[0].f32()[0] * k.in[3].f32()[b] / float(batch * size));
                    for_vectors(col_end - col, [&](int64_t i, auto lanes) {
                        int64_t at = b * size + col + i;
                        Vec e = load(pred + at, lanes) - load(target + at, lanes);
                        store(dpred + at, factor * loss.derivative(e), lanes);
                    });
                }
            });
        },
        pred, k.in[2], k.out[0]);
}

}  // namespace stepd::STEPD_ISA
