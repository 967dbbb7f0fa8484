// The weights of a denoiser and its adapter, and what training keeps beside each trained one.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "adapters/adapter.h"
#include "graph/builder.h"
#include "models/family.h"
#include "optim/optimizer.h"
#include "optim/sweep.h"
#include "train/slab.h"

namespace stepd {

// Which parameters there are and how each is stored; costs no memory, so it also serves plans.
class ParameterLayout {
public:
    struct Entry {
        const ParameterSpec* spec;
        DType dtype;
        bool trained;
    };

    // adapter: null for a full fine-tune, which trains every weight. Otherwise only the adapter's factors are trained.
    // frozen, trained: how each kind is stored. Both components must outlive the layout.
    ParameterLayout(const Denoiser& denoiser, const Adapter* adapter, DType frozen, DType trained);

    const std::vector<Entry>& entries() const { return entries_; }
    size_t base_count() const { return base_count_; }  // entries of the denoiser; the adapter's follow
    bool has_adapter() const { return entries_.size() > base_count_; }
    // For a graph builder. f32_trained: trained parameters are read from their f32 averages.
    ParameterInfo info(const std::string& name, bool f32_trained = false) const;

    int64_t elements() const;
    int64_t trained_elements() const;
    std::vector<TensorSpec> weight_specs() const;
    std::vector<TensorSpec> trained_specs(DType dtype) const;  // one per trained parameter
    // method.state.size() tensors per trained parameter.
    std::vector<TensorSpec> state_specs(const OptimizerMethod& method) const;

private:
    std::vector<Entry> entries_;
    size_t base_count_ = 0;
    std::unordered_map<std::string, size_t> index_;
};

// The memory behind a layout.
class ParameterStore {
public:
    // Weights only; they are zero. method must outlive the store. average: keep an exponential moving average.
    ParameterStore(const ParameterLayout& layout, const OptimizerMethod& method, bool average);

    const ParameterLayout& layout() const { return layout_; }
    const Tensor& weight(size_t entry) const { return weights_[entry]; }
    // Allocates gradients, optimizer state and averages, unless that has happened. Averages start at the weights.
    void start_training();
    bool training() const { return !trained_.empty(); }

    // One per trained parameter, in layout order; empty before start_training().
    const std::vector<TrainedTensor>& trained() const { return trained_; }

private:
    const ParameterLayout& layout_;
    const OptimizerMethod& method_;
    bool average_;
    Slab weights_, gradients_, state_, averages_;
    std::vector<TrainedTensor> trained_;
};

// Copies or converts between f32 and bf16 tensors of equal size.
void copy_values(const Tensor& from, const Tensor& to);

}  // namespace stepd
