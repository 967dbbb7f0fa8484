// One pass over all trained parameters: scale and clip the gradient, update, average. Work is cut into pieces by size
// alone, so results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/pool.h"
#include "base/tensor.h"
#include "optim/optimizer.h"

namespace stepd {

// A trained parameter and everything of its shape. Memory is owned by train/parameters.h.
struct TrainedTensor {
    std::string name;
    Tensor weight;              // f32 or bf16
    float* gradient = nullptr;  // mean gradient of the step
    float* average = nullptr;   // exponential moving average; null: none
    std::vector<void*> state;   // one per StateSpec of the method
};

struct GradientNorm {
    double value = 0;    // 2-norm over all parameters
    std::string broken;  // first parameter whose gradient is not finite, empty when all are
};

struct StepOptions {
    int64_t step = 0;  // 1 for the first
    double lr = 0;
    double gradient_scale = 1;  // from clipping by norm
    double clip_value = 0;      // 0: off
    double average_rate = 0;    // 1 - decay
    uint64_t seed = 0;
};

class Sweep {
public:
    // settings: from optimizer_settings().
    Sweep(const OptimizerMethod& method, std::vector<double> settings, std::vector<TrainedTensor> tensors, Pool& pool);

    GradientNorm gradient_norm() const;
    void step(const StepOptions& options) const;

    const std::vector<TrainedTensor>& tensors() const { return tensors_; }

private:
    struct Piece {
        int tensor;
        int64_t begin, count;
    };
    struct Ticket {
        size_t first, last;  // pieces [first, last)
    };
    template <class Body>
    void for_pieces(const Body& body) const;
    void update_piece(const Piece& piece, const StepOptions& options) const;

    const OptimKernels& kernels_;
    const OptimizerMethod& method_;
    std::vector<double> settings_;
    std::vector<TrainedTensor> tensors_;
    std::vector<Piece> pieces_;
    std::vector<Ticket> tickets_;
    Pool& pool_;
};

// min(1, limit / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; 1 when limit is 0.
double clip_scale(double norm, double limit);

}  // namespace stepd
