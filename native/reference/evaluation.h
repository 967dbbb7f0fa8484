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
    // compute: dtype of activations and of all weights. trainable: which parameters get a gradient; null: none.
    explicit Evaluation(DType compute, bool (*trainable)(const std::string& name) = nullptr);

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

    // Ends recording: rewrites, plans and allocates.
    void prepare();
    // Fills the parameters that belong to `model`; others are left alone (zero at first).
    void load(const Component& model, const SafetensorsReader& weights);
    // Memory of a parameter, in the dtype given to the constructor.
    void* parameter(const std::string& name);
    void run();
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
