// Adapters: small trained factors beside frozen weights. nn::linear asks the builder's adapter about each module it
// records; model code never mentions them. An adapter is one file here and one line in adapters.inc.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/family.h"

namespace stepd {

struct AdapterOptions {
    std::string type;  // "lora"
    int64_t rank = 0;
    double alpha = 0;
    double dropout = 0;
    std::vector<LinearModule> modules;  // in module order, from adapter_modules()
};

// A tensor of an adapter file.
struct AdapterTensor {
    std::string name;
    Shape shape;
    std::vector<float> data;
};

class Adapter {
public:
    virtual ~Adapter() = default;
    // Trained factors in module order.
    virtual const std::vector<ParameterSpec>& parameters() const = 0;
    // Starting values of all parameters, drawn as the reference library draws them, in order, from one generator.
    virtual void initialise(Generator& generator, std::span<float* const> parameters) const = 0;
    // What module `path` adds to base = W x + b; `base` itself when the adapter does not sit on the module. With
    // dropout the graph gets one f32 input of x's shape named kDropoutInput + path, to be set to 0 or 1/(1-p) for each
    // element.
    virtual ValueId record(Builder& b, const std::string& path, ValueId x, ValueId base) const = 0;
    // Probability with which masks are drawn; 0: no mask inputs are recorded.
    virtual double dropout() const = 0;

    // The diffusers file: names with the "transformer." prefix, factors such that loaders which ignore the metadata
    // (alpha = rank) compute the same; metadata of the file. values: one per parameter.
    virtual std::vector<AdapterTensor> export_tensors(std::span<const float* const> values) const = 0;
    virtual std::map<std::string, std::string> export_metadata() const = 0;
    // Fills the parameters from such a file. Throws Code::invalid naming a missing, unknown or misshapen tensor.
    virtual void import_file(const std::filesystem::path& file, std::span<float* const> parameters) const = 0;
};

// Throws Code::unsupported naming an unknown type, Code::invalid on a bad option.
std::unique_ptr<Adapter> make_adapter(const AdapterOptions& options);

// Prefix of the names of dropout mask inputs; the rest is the module path. Inputs appear in recording order.
inline constexpr const char* kDropoutInput = "dropout.";

}  // namespace stepd
