#include "optim/sweep.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "io/draws.h"

namespace stepd {
namespace {

constexpr int64_t kPiece = 1 << 16;  // elements: a few hundred tickets for the smallest models that matter
constexpr int64_t kBlock = 2048;     // elements that stay in the first-level cache between scaling and averaging

void* advance(const Tensor& t, int64_t elements) {
    return static_cast<char*>(t.data) + elements * int64_t(size_of(t.dtype));
}

}  // namespace

double clip_scale(double norm, double limit) { return limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0; }

Sweep::Sweep(const OptimizerMethod& method, std::vector<double> settings, std::vector<TrainedTensor> tensors,
             Pool& pool)
    : kernels_(optim_kernels()),
      method_(method),
      settings_(std::move(settings)),
      tensors_(std::move(tensors)),
      pool_(pool) {
    int64_t open = kPiece;  // elements in the last ticket
    for (size_t t = 0; t < tensors_.size(); t++) {
        int64_t size = tensors_[t].weight.numel();
        for (int64_t begin = 0; begin < size; begin += kPiece) {
            int64_t count = std::min(kPiece, size - begin);
            if (open + count > kPiece) {
                tickets_.push_back({pieces_.size(), pieces_.size()});
                open = 0;
            }
            pieces_.push_back({int(t), begin, count});
            tickets_.back().last = pieces_.size();
            open += count;
        }
    }
}

template <class Body>
void Sweep::for_pieces(const Body& body) const {
    pool_.run(int64_t(tickets_.size()), [&](int64_t ticket, int) {
        for (size_t p = tickets_[size_t(ticket)].first; p < tickets_[size_t(ticket)].last; p++) body(p, pieces_[p]);
    });
}

GradientNorm Sweep::gradient_norm() const {
    std::vector<double> sums(pieces_.size());
    for_pieces([&](size_t p, const Piece& piece) {
        sums[p] = kernels_.sum_squares(tensors_[size_t(piece.tensor)].gradient + piece.begin, piece.count);
    });
    GradientNorm norm;
    double total = 0;
    for (size_t p = 0; p < sums.size(); p++) {
        total += sums[p];
        if (norm.broken.empty() && !std::isfinite(sums[p])) norm.broken = tensors_[size_t(pieces_[p].tensor)].name;
    }
    norm.value = std::sqrt(total);
    return norm;
}

void Sweep::step(const StepOptions& options) const {
    for_pieces([&](size_t, const Piece& piece) { update_piece(piece, options); });
}

void Sweep::update_piece(const Piece& piece, const StepOptions& options) const {
    const TrainedTensor& tensor = tensors_[size_t(piece.tensor)];
    const UpdateContext context{settings_.data(), options.step, options.lr};
    const uint64_t key = rounding_key(options.seed, uint64_t(options.step), uint64_t(piece.tensor));
    const bool scale = options.gradient_scale != 1 || options.clip_value > 0;
    float scaled[kBlock];
    for (int64_t at = 0; at < piece.count; at += kBlock) {
        UpdateRange range{};
        range.begin = piece.begin + at;
        range.count = std::min(kBlock, piece.count - at);
        range.key = key;
        range.weight = advance(tensor.weight, range.begin);
        range.weight_dtype = tensor.weight.dtype;
        range.gradient = tensor.gradient + range.begin;
        if (scale) {
            kernels_.scale_clip(range.gradient, scaled, range.count, float(options.gradient_scale),
                                float(options.clip_value));
            range.gradient = scaled;
        }
        for (size_t s = 0; s < tensor.state.size(); s++)
            range.state[s] =
                static_cast<char*>(tensor.state[s]) + range.begin * int64_t(size_of(method_.state[s].dtype));
        method_.update(range, context);
        if (tensor.average)
            kernels_.average(tensor.average + range.begin, range.weight, range.weight_dtype, range.count,
                             float(options.average_rate));
    }
}

}  // namespace stepd
