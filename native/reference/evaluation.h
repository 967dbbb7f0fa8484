// Runs a recorded computation once on the CPU, with weights from a model folder and inputs from a file of arrays.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu.h"
#include "graph/builder.h"
#include "graph/executor.h"
#include "io/safetensors.h"
#include "models/family.h"

namespace stepd::reference {

class Evaluation {
public:
    // compute: dtype of activations and of all weights. train: every parameter gets a gradient.
    explicit Evaluation(DType compute, bool train = false);

    Graph& graph() { return graph_; }
    Builder& builder() { return builder_; }
    // An input that holds `values`; the shape's element count must fit.
    ValueId input(const std::string& name, const Shape& shape, const std::vector<float>& values);
    ValueId input(const std::string& name, const Shape& shape, const std::vector<int32_t>& values);
    // An f32 input with the array's values.
    ValueId input(const std::string& name, const SafeTensor& values);

    // Makes outputs of the observed modules for which `arrays` has an array prefix + module. `arrays` must outlive
    // this.
    void observe(const SafetensorsReader& arrays, const std::string& prefix);

    // Takes the weights of `model` from `weights` and runs everything recorded so far.
    void run(const Component& model, const SafetensorsReader& weights);
    // An output after run(), as f32.
    std::vector<float> output(const std::string& name) const;
    bool has_output(const std::string& name) const { return executor_->has(name); }

private:
    Graph graph_;
    Builder builder_;
    std::unique_ptr<Backend> backend_;
    std::map<std::string, Buffer> memory_;  // of inputs, parameters and outputs
    std::unique_ptr<Executor> executor_;
};

// All elements of an array as f32.
std::vector<float> floats(const SafeTensor& tensor);

// Relative error ||actual - expected|| / ||expected||; the norm of actual where expected is zero; infinite when the
// sizes differ.
double relative_error(const std::vector<float>& actual, const std::vector<float>& expected);
double relative_error(const std::vector<float>& actual, const SafeTensor& expected);

// The folder of the first model (by name) whose class of `component` is `class_name`; empty when there is none.
std::string find_model(const std::string& folder, const std::string& component, const std::string& class_name);

}  // namespace stepd::reference
