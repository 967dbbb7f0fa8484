#include "train/parameters.h"

#include <cstring>

#include "base/error.h"

namespace stepd {

ParameterLayout::ParameterLayout(const Denoiser& denoiser, const Adapter* adapter, DType frozen, DType trained) {
    for (const ParameterSpec& spec : denoiser.parameters())
        entries_.push_back({&spec, adapter ? frozen : trained, adapter == nullptr});
    base_count_ = entries_.size();
    if (adapter)
        for (const ParameterSpec& spec : adapter->parameters()) entries_.push_back({&spec, trained, true});
    for (size_t i = 0; i < entries_.size(); i++) {
        const bool fresh = index_.emplace(entries_[i].spec->name, i).second;
        STEPD_CHECK(fresh, "two parameters are called ", entries_[i].spec->name);
    }
}

ParameterInfo ParameterLayout::info(const std::string& name, bool f32_trained) const {
    auto it = index_.find(name);
    STEPD_CHECK(it != index_.end(), "the model asks for a parameter that it does not list: ", name);
    const Entry& entry = entries_[it->second];
    return {entry.trained && f32_trained ? DType::f32 : entry.dtype, entry.trained};
}

int64_t ParameterLayout::elements() const {
    int64_t n = 0;
    for (const Entry& e : entries_) n += numel(e.spec->shape);
    return n;
}

int64_t ParameterLayout::trained_elements() const {
    int64_t n = 0;
    for (const Entry& e : entries_) n += e.trained ? numel(e.spec->shape) : 0;
    return n;
}

std::vector<TensorSpec> ParameterLayout::weight_specs() const {
    std::vector<TensorSpec> specs;
    for (const Entry& e : entries_) specs.push_back({e.spec->shape, e.dtype});
    return specs;
}

std::vector<TensorSpec> ParameterLayout::trained_specs(DType dtype) const {
    std::vector<TensorSpec> specs;
    for (const Entry& e : entries_)
        if (e.trained) specs.push_back({e.spec->shape, dtype});
    return specs;
}

std::vector<TensorSpec> ParameterLayout::state_specs(const OptimizerMethod& method) const {
    std::vector<TensorSpec> specs;
    for (const Entry& e : entries_)
        if (e.trained)
            for (const StateSpec& state : method.state) specs.push_back({e.spec->shape, state.dtype});
    return specs;
}

ParameterStore::ParameterStore(const ParameterLayout& layout, const OptimizerMethod& method, bool average)
    : layout_(layout), method_(method), average_(average), weights_(layout.weight_specs()) {}

void ParameterStore::start_training() {
    if (training()) return;
    gradients_ = Slab(layout_.trained_specs(DType::f32));
    state_ = Slab(layout_.state_specs(method_));
    if (average_) averages_ = Slab(layout_.trained_specs(DType::f32));
    for (size_t i = 0; i < layout_.entries().size(); i++) {
        const ParameterLayout::Entry& entry = layout_.entries()[i];
        if (!entry.trained) continue;
        const size_t t = trained_.size();
        TrainedTensor& tensor = trained_.emplace_back();
        tensor.name = entry.spec->name;
        tensor.weight = weights_[i];
        tensor.gradient = gradients_[t].f32();
        for (size_t s = 0; s < method_.state.size(); s++)
            tensor.state.push_back(state_[t * method_.state.size() + s].data);
        if (average_) {
            tensor.average = averages_[t].f32();
            copy_values(tensor.weight, averages_[t]);
        }
    }
}

void copy_values(const Tensor& from, const Tensor& to) {
    const int64_t n = from.numel();
    STEPD_CHECK(n == to.numel(), "copy of ", to_string(from.shape), " to ", to_string(to.shape));
    if (from.dtype == to.dtype)
        std::memcpy(to.data, from.data, from.bytes());
    else if (from.dtype == DType::bf16)
        for (int64_t i = 0; i < n; i++) to.f32()[i] = to_float(from.bf16()[i]);
    else
        for (int64_t i = 0; i < n; i++) to.bf16()[i] = to_bf16(from.f32()[i]);
}

}  // namespace stepd
