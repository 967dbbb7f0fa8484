// LoRA against peft (testdata/pixart/lora, made by make.py): a file written by it, gradients, starting values.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "adapters/adapter.h"
#include "diffusion/noise_schedule.h"
#include "graph/autodiff.h"
#include "io/random.h"
#include "models/folder.h"
#include "reference/evaluation.h"
#include "reference/reference.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace stepd {
namespace {

const std::string kTestData = std::string(STEPD_SOURCE_DIR) + "/native/tests/testdata/pixart/";
const std::string kLora = kTestData + "lora/";
const std::vector<std::string> kTargets{"to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj"};

std::unique_ptr<Denoiser> tiny() {
    return find_family("pixart", nullptr).make_denoiser(Folder(kTestData + "models/tiny").config("transformer"));
}

AdapterOptions lora_options(double alpha = 6) {
    return {.type = "lora", .rank = 3, .alpha = alpha, .dropout = 0, .modules = adapter_modules(*tiny(), kTargets)};
}

// Memory for every factor of an adapter.
struct Factors {
    explicit Factors(const Adapter& adapter) {
        for (const ParameterSpec& p : adapter.parameters()) values.emplace_back(size_t(numel(p.shape)), NAN);
        for (auto& v : values) pointers.push_back(v.data());
    }
    std::vector<const float*> constant() const { return {pointers.begin(), pointers.end()}; }
    std::vector<std::vector<float>> values;
    std::vector<float*> pointers;
};

// Loss of the stored batch with the adapter on the tiny model.
void record_loss(reference::Evaluation& e, const Denoiser& denoiser, const Adapter& adapter) {
    SafetensorsReader arrays(kLora + "inputs.safetensors");
    const SafeTensor &x0 = arrays.at("x0"), &text = arrays.at("text"), &mask = arrays.at("mask");
    std::vector<float> clean = reference::floats(x0), noise = reference::floats(arrays.at("noise")),
                       noisy(clean.size());
    std::vector<float> t = reference::floats(arrays.at("t")), bias = reference::floats(mask);
    for (float& v : bias) v = v == 0 ? denoiser.masked_text_bias() : 0.0f;
    NoiseSchedule schedule{NoiseScheduleOptions{}};
    size_t sample = clean.size() / t.size();
    for (size_t i = 0; i < t.size(); ++i) {
        auto part = [&](std::vector<float>& v) { return std::span(v).subspan(i * sample, sample); };
        schedule.add_noise(int64_t(t[i]), part(clean), part(noise), part(noisy));
    }
    Bucket bucket{x0.shape[0], x0.shape[2], x0.shape[3], text.shape[1]};
    e.builder().adapter = &adapter;
    ValueId prediction =
        denoiser.record(e.builder(), bucket, e.input("noisy", x0.shape, noisy), e.input("t", {bucket.batch}, t),
                        e.input("text", text), e.input("text_bias", mask.shape, bias));
    ValueId loss = e.builder().op("diffusion_loss",
                                  {prediction, e.input("target", x0.shape, noise),
                                   e.input("weight", {bucket.batch}, std::vector<float>(t.size(), 1)),
                                   e.input("c", {bucket.batch}, std::vector<float>(t.size(), 1))},
                                  {{"kind", 0}});
    e.builder().output("loss", loss);
}

bool is_factor(const std::string& name) { return name.find(".lora_") != std::string::npos; }

// Loss with the factors of `file`.
double loss_of_file(const std::string& file, double alpha) {
    auto denoiser = tiny();
    auto adapter = make_adapter(lora_options(alpha));
    Factors factors(*adapter);
    adapter->import_file(file, factors.pointers);
    reference::Evaluation e(DType::f32);
    record_loss(e, *denoiser, *adapter);
    e.prepare();
    e.load(*denoiser, SafetensorsReader(kTestData + "models/tiny/transformer"));
    for (size_t i = 0; i < factors.values.size(); ++i) {
        std::memcpy(e.parameter(adapter->parameters()[i].name), factors.pointers[i],
                    factors.values[i].size() * sizeof(float));
    }
    e.run();
    return e.output("loss")[0];
}

TEST(Lora, LossAndGradientsMatchPeft) {
    auto denoiser = tiny();
    auto adapter = make_adapter(lora_options());
    Factors factors(*adapter);
    adapter->import_file(kLora + "pytorch_lora_weights.safetensors", factors.pointers);

    reference::Evaluation e(DType::f32, is_factor);
    record_loss(e, *denoiser, *adapter);
    EXPECT_EQ(differentiate(e.graph(), e.graph().find("loss"), e.input("seed", {1}, std::vector<float>{1})), 36);
    e.prepare();
    e.load(*denoiser, SafetensorsReader(kTestData + "models/tiny/transformer"));
    for (size_t i = 0; i < factors.values.size(); ++i) {
        std::memcpy(e.parameter(adapter->parameters()[i].name), factors.pointers[i],
                    factors.values[i].size() * sizeof(float));
    }
    e.run();
    double expected = reference::read_json(kLora + "loss.json").at("fp32");
    EXPECT_NEAR(e.output("loss")[0], expected, 2e-6 * expected);
    SafetensorsReader gradients(kLora + "grads.safetensors");
    for (const SafeTensor& g : gradients.tensors()) {
        EXPECT_LT(reference::relative_error(e.output(gradient_name(g.name)), g), 2e-5) << g.name;
    }
    EXPECT_EQ(gradients.tensors().size(), 36u);
}

TEST(Lora, StartsAsPeftDoes) {
    auto adapter = make_adapter(lora_options());
    Factors factors(*adapter);
    Generator generator(9);
    adapter->initialise(generator, factors.pointers);
    SafetensorsReader expected(kLora + "initial_values.safetensors");
    for (size_t i = 0; i < factors.values.size(); ++i) {
        const ParameterSpec& p = adapter->parameters()[i];
        if (p.name.ends_with(".lora_B.weight")) {
            EXPECT_EQ(factors.values[i], std::vector<float>(factors.values[i].size(), 0)) << p.name;
        } else {
            EXPECT_EQ(factors.values[i], reference::floats(expected.at(p.name))) << p.name;
        }
    }
}

void write_tensors(const std::string& path, const std::vector<AdapterTensor>& tensors, const SafeMetadata& metadata) {
    std::vector<SafeTensorSource> sources;
    for (const AdapterTensor& t : tensors) {
        sources.push_back(
            {t.name, SafeType::f32, t.shape, [&t](const EmitBytes& emit) { emit(std::as_bytes(std::span(t.data))); }});
    }
    write_safetensors(path, sources, metadata);
}

// The exported file means the same with and without its metadata, and to an adapter of another alpha.
TEST(Lora, ExportedFileNeedsNoAlpha) {
    const std::string source = kLora + "pytorch_lora_weights.safetensors";
    auto adapter = make_adapter(lora_options());
    Factors factors(*adapter);
    adapter->import_file(source, factors.pointers);
    std::vector<AdapterTensor> tensors = adapter->export_tensors(factors.constant());
    TemporaryFolder folder;
    write_tensors(folder / "full.safetensors", tensors, adapter->export_metadata());
    write_tensors(folder / "bare.safetensors", tensors, {{"format", "pt"}});
    EXPECT_EQ(tensors[0].name, "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight");
    double expected = loss_of_file(source, 6);
    for (const char* file : {"full.safetensors", "bare.safetensors"}) {
        for (double alpha : {6.0, 3.0, 1.5})
            EXPECT_NEAR(loss_of_file(folder / file, alpha), expected, 1e-6 * expected) << file << alpha;
    }
    nlohmann::json config = nlohmann::json::parse(adapter->export_metadata().at("lora_adapter_metadata"));
    EXPECT_EQ(config.at("transformer.r"), 3);
    EXPECT_EQ(config.at("transformer.lora_alpha"), 3);
    EXPECT_EQ(config.at("transformer.target_modules").size(), 18u);
}

TEST(Lora, ReadsAlphaTensorsAndBareNames) {
    const std::string source = kLora + "pytorch_lora_weights.safetensors";
    SafetensorsReader reader(source);
    std::vector<AdapterTensor> tensors;
    for (const SafeTensor& t : reader.tensors()) {
        tensors.push_back({t.name.substr(std::strlen("transformer.")), t.shape, reference::floats(t)});
        if (t.name.ends_with(".lora_A.weight")) {
            std::string module = tensors.back().name.substr(0, tensors.back().name.rfind(".lora_A"));
            tensors.push_back({module + ".alpha", {}, {6}});
        }
    }
    TemporaryFolder folder;
    write_tensors(folder / "alpha.safetensors", tensors, {});
    EXPECT_NEAR(loss_of_file(folder / "alpha.safetensors", 3), loss_of_file(source, 6), 1e-6);
}

TEST(Lora, RefusesFilesThatDoNotFit) {
    auto adapter = make_adapter(lora_options());
    Factors factors(*adapter);
    adapter->import_file(kLora + "pytorch_lora_weights.safetensors", factors.pointers);
    std::vector<AdapterTensor> tensors = adapter->export_tensors(factors.constant());
    TemporaryFolder folder;
    auto import = [&](const std::vector<AdapterTensor>& list, const SafeMetadata& metadata, Code code) {
        write_tensors(folder / "bad.safetensors", list, metadata);
        return message_of(code, [&] { adapter->import_file(folder / "bad.safetensors", factors.pointers); });
    };
    auto missing = tensors;
    missing.erase(missing.begin());
    expect_contains(import(missing, {}, Code::invalid), tensors[0].name);
    auto extra = tensors;
    extra.push_back({"transformer.proj_out.lora_A.weight", {1}, {0}});
    expect_contains(import(extra, {}, Code::invalid), "proj_out");
    auto misshapen = tensors;
    misshapen[0].shape = {misshapen[0].shape[1], misshapen[0].shape[0]};
    expect_contains(import(misshapen, {}, Code::invalid), tensors[0].name);
    auto no_alpha = tensors;
    const std::string module = tensors[0].name.substr(0, tensors[0].name.rfind(".lora_A"));
    no_alpha.push_back({module + ".alpha", {0}, {}});
    expect_contains(import(no_alpha, {}, Code::invalid), module + ".alpha");
    const std::string key = "lora_adapter_metadata";
    expect_contains(import(tensors, {{key, R"({"transformer.use_dora": true})"}}, Code::unsupported), "use_dora");
    expect_contains(import(tensors, {{key, R"({"transformer.rank_pattern": {"to_q": 8}})"}}, Code::unsupported),
                    "rank_pattern");
    expect_contains(import(tensors, {{key, "["}}, Code::invalid), key);
}

TEST(Lora, RefusesBadOptions) {
    auto make = [](auto change) {
        AdapterOptions options = lora_options();
        change(options);
        return options;
    };
    auto message = [](Code code, const AdapterOptions& o) { return message_of(code, [&] { make_adapter(o); }); };
    expect_contains(message(Code::unsupported, make([](auto& o) { o.type = "oft"; })), "lora");
    expect_contains(message(Code::invalid, make([](auto& o) { o.rank = 0; })), "adapter.rank");
    expect_contains(message(Code::invalid, make([](auto& o) { o.alpha = 0; })), "adapter.alpha");
    expect_contains(message(Code::invalid, make([](auto& o) { o.dropout = 1; })), "adapter.dropout");
    expect_contains(message(Code::invalid, make([](auto& o) { o.modules.clear(); })), "adapter.targets");
}

// One mask per module, in recording order, applied to the adapter's input only.
TEST(Lora, DropoutMasksAreInputs) {
    AdapterOptions options = lora_options();
    options.dropout = 0.25;
    options.modules.resize(2);
    auto adapter = make_adapter(options);
    Graph graph;
    Builder b(graph, DType::f32);
    ValueId x = b.input("x", {2, 5, 24}, DType::f32);
    for (const LinearModule& m : options.modules) adapter->record(b, m.path, x, x);
    ValueId other = adapter->record(b, "proj_out", x, x);
    EXPECT_EQ(other, x);
    std::vector<std::string> masks;
    for (const Value& v : graph.values) {
        if (v.role != Role::input || !v.name.starts_with(kDropoutInput)) continue;
        masks.push_back(v.name.substr(std::strlen(kDropoutInput)));
        EXPECT_EQ(v.shape, (Shape{2, 5, 24}));
    }
    EXPECT_EQ(masks, (std::vector<std::string>{options.modules[0].path, options.modules[1].path}));
}

}  // namespace
}  // namespace stepd
