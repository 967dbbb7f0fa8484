#include "reference/evaluation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "graph/plan.h"
#include "graph/rewrite.h"
#include "models/folder.h"

namespace stepd::reference {

Evaluation::Evaluation(DType compute, bool (*trainable)(const std::string& name))
    : builder_(graph_, compute,
               [=](const std::string& name) {
                   return ParameterInfo{compute, trainable && trainable(name)};
               }),
      backend_(make_cpu_backend()) {}

ValueId Evaluation::input(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    STEPD_REQUIRE(numel(shape) == int64_t(values.size()), Code::invalid, "input ", name, " of shape ", to_string(shape),
                  " gets ", values.size(), " values");
    Buffer& buffer = memory_[name] = Buffer(values.size() * sizeof(float));
    std::memcpy(buffer.data(), values.data(), values.size() * sizeof(float));
    return builder_.input(name, shape, DType::f32);
}

ValueId Evaluation::input(const std::string& name, const Shape& shape, const std::vector<int32_t>& values) {
    STEPD_REQUIRE(numel(shape) == int64_t(values.size()), Code::invalid, "input ", name, " of shape ", to_string(shape),
                  " gets ", values.size(), " values");
    Buffer& buffer = memory_[name] = Buffer(values.size() * sizeof(int32_t));
    std::memcpy(buffer.data(), values.data(), values.size() * sizeof(int32_t));
    return builder_.input(name, shape, DType::i32);
}

ValueId Evaluation::input(const std::string& name, const SafeTensor& values) {
    return input(name, values.shape, floats(values));
}

void Evaluation::observe(const SafetensorsReader& arrays, const std::string& prefix) {
    builder_.observe = [this, &arrays, prefix](const std::string& module, ValueId v) {
        if (arrays.find(prefix + module)) builder_.output(module, v);
    };
}

void Evaluation::prepare() {
    rewrite(graph_);
    executor_ = std::make_unique<Executor>(make_plan(graph_), *backend_);
    for (const Value& v : graph_.values) {
        if (v.role == Role::temporary) continue;
        if (v.role != Role::input) memory_[v.name] = Buffer(size_t(numel(v.shape)) * size_of(v.dtype));
        executor_->bind(v.name, memory_.at(v.name).data());
    }
}

void Evaluation::load(const Component& model, const SafetensorsReader& weights) {
    load_weights(weights, model, [&](const ParameterSpec& p) {
        ValueId v = graph_.find(p.name);
        return v == kNone ? Tensor{} : Tensor{memory_.at(p.name).data(), graph_.value(v).dtype, p.shape};
    });
}

void* Evaluation::parameter(const std::string& name) { return memory_.at(name).data(); }

void Evaluation::run() { executor_->run(); }

std::vector<float> Evaluation::output(const std::string& name) const {
    const Value& v = executor_->value(name);
    std::vector<float> out(static_cast<size_t>(numel(v.shape)));
    const void* data = memory_.at(name).data();
    if (v.dtype == DType::f32) {
        std::memcpy(out.data(), data, out.size() * sizeof(float));
    } else {
        std::transform(static_cast<const bf16*>(data), static_cast<const bf16*>(data) + out.size(), out.begin(),
                       [](bf16 x) { return to_float(x); });
    }
    return out;
}

std::vector<float> floats(const SafeTensor& tensor) {
    std::vector<float> out(static_cast<size_t>(tensor.elements()));
    convert(tensor, 0, tensor.elements(), out.data(), DType::f32);
    return out;
}

double relative_error(const std::vector<float>& actual, const SafeTensor& expected) {
    return relative_error(actual, floats(expected));
}

double relative_error(const std::vector<float>& actual, const std::vector<float>& wanted) {
    if (actual.size() != wanted.size()) return std::numeric_limits<double>::infinity();
    double difference = 0, norm = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        difference += std::pow(double(actual[i]) - double(wanted[i]), 2);
        norm += std::pow(double(wanted[i]), 2);
    }
    return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

std::string find_model(const std::string& folder, const std::string& component, const std::string& class_name) {
    std::vector<std::filesystem::path> models;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(folder) / "models")) {
        models.push_back(entry.path());
    }
    std::sort(models.begin(), models.end());
    for (const auto& model : models) {
        if (Folder(model).class_of(component) == class_name) return model.string();
    }
    return "";
}

}  // namespace stepd::reference
