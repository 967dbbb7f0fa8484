// Model families against PyTorch's numbers (testdata/pixart, made by make.py there), and what they refuse.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/random.h"
#include "io/safetensors.h"
#include "models/autoencoder_kl.h"
#include "models/folder.h"
#include "models/t5.h"
#include "reference/evaluation.h"
#include "reference/reference.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace stepd {
namespace {

const std::string kTestData = std::string(STEPD_SOURCE_DIR) + "/native/tests/testdata/pixart/";
const std::string kTiny = kTestData + "models/tiny";

nlohmann::json tiny_config(const std::string& component) { return Folder(kTiny).config(component); }

const Family& pixart() { return find_family("pixart", nullptr); }

TEST(Models, MatchReference) {
    reference::Result result = reference::run(kTestData, "ABC");
    EXPECT_EQ(result.failed, 0);
    EXPECT_EQ(result.skipped, 0);
    EXPECT_GE(result.passed, 24);
}

TEST(Models, StartingValuesAreThoseOfDiffusers) {
    auto denoiser = pixart().make_denoiser(tiny_config("transformer"));
    SafetensorsReader expected(kTestData + "initial_values.safetensors");
    Generator generator(7);
    for (const ParameterSpec& p : denoiser->parameters()) {
        std::vector<float> values(size_t(numel(p.shape)), 1);
        denoiser->initialise(p, generator, values.data());
        std::vector<float> wanted = reference::floats(expected.at(p.name));
        if (p.name.starts_with("proj_out.")) wanted.assign(wanted.size(), 0);
        EXPECT_EQ(values, wanted) << p.name;
    }
}

struct Size {
    const char* name;
    int layers;
    int64_t parameters;
};

TEST(Models, PixArtParameterCounts) {
    for (Size size : {Size{"600M", 28, 610856096}, Size{"900M", 42, 908433824}}) {
        auto denoiser = pixart().make_denoiser({{"num_layers", size.layers}, {"caption_channels", 4096}});
        int64_t count = 0;
        for (const ParameterSpec& p : denoiser->parameters()) count += numel(p.shape);
        EXPECT_EQ(count, size.parameters) << size.name;
        EXPECT_EQ(adapter_modules(*denoiser, denoiser->default_adapter_targets()).size(), size_t(8 * size.layers));
    }
}

TEST(Models, AdapterTargetsAreSuffixesOfModulePaths) {
    auto denoiser = pixart().make_denoiser(tiny_config("transformer"));
    std::vector<LinearModule> modules =
        adapter_modules(*denoiser, {"to_out.0", "net.2", "caption_projection.linear_1"});
    std::vector<std::string> paths;
    for (const LinearModule& m : modules) paths.push_back(m.path);
    EXPECT_EQ(paths,
              (std::vector<std::string>{"transformer_blocks.0.attn1.to_out.0", "transformer_blocks.0.attn2.to_out.0",
                                        "transformer_blocks.0.ff.net.2", "transformer_blocks.1.attn1.to_out.0",
                                        "transformer_blocks.1.attn2.to_out.0", "transformer_blocks.1.ff.net.2",
                                        "caption_projection.linear_1"}));
    EXPECT_EQ(modules[2].in, 96);
    EXPECT_EQ(modules[2].out, 24);
    expect_contains(message_of(Code::invalid, [&] { adapter_modules(*denoiser, {"to_q", "o_k"}); }), "o_k");
}

struct Refusal {
    const char* key;
    nlohmann::json value;
    Code code;
};

TEST(Models, UnsupportedConfigurationsAreNamed) {
    const Refusal transformer[] = {{"norm_type", "layer_norm", Code::unsupported},
                                   {"activation_fn", "geglu", Code::unsupported},
                                   {"attention_type", "gated", Code::unsupported},
                                   {"norm_elementwise_affine", true, Code::unsupported},
                                   {"dropout", 0.1, Code::unsupported},
                                   {"cross_attention_dim", 36, Code::unsupported},
                                   {"out_channels", 6, Code::unsupported},
                                   {"num_layers", 0, Code::invalid},
                                   {"num_layers", "two", Code::invalid},
                                   {"num_layers", 200000, Code::invalid},
                                   {"num_attention_heads", int64_t{1} << 40, Code::invalid},
                                   {"num_attention_heads", 1 << 20, Code::invalid},
                                   {"attention_head_dim", 1 << 20, Code::invalid},
                                   {"caption_channels", 1 << 20, Code::invalid},
                                   {"in_channels", 1 << 20, Code::invalid},
                                   {"patch_size", 1000, Code::invalid},
                                   {"_class_name", "FluxTransformer2DModel", Code::unsupported},
                                   {"_class_name", 3, Code::invalid},
                                   {"norm_eps", "small", Code::invalid},
                                   {"interpolation_scale", 0, Code::invalid}};
    for (const Refusal& r : transformer) {
        nlohmann::json config = tiny_config("transformer");
        config[r.key] = r.value;
        expect_contains(message_of(r.code, [&] { pixart().make_denoiser(config); }), r.key);
    }
    const Refusal vae[] = {
        {"_class_name", "AutoencoderTiny", Code::unsupported},
        {"layers_per_block", 100000, Code::invalid},
        {"block_out_channels", {1 << 20}, Code::invalid},
        {"act_fn", "relu", Code::unsupported},
        {"latents_mean", {0.1}, Code::unsupported},
        {"down_block_types", {"DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"}, Code::unsupported},
        {"norm_num_groups", 5, Code::invalid},
        {"scaling_factor", 0, Code::invalid},
        {"block_out_channels", {4, "8"}, Code::invalid}};
    for (const Refusal& r : vae) {
        nlohmann::json config = tiny_config("vae");
        config[r.key] = r.value;
        expect_contains(message_of(r.code, [&] { make_autoencoder_kl(config); }), r.key);
    }
    const Refusal text[] = {{"feed_forward_proj", "relu", Code::unsupported},
                            {"feed_forward_proj", nullptr, Code::unsupported},
                            {"d_model", nullptr, Code::invalid},
                            {"num_layers", 200000, Code::invalid},
                            {"d_ff", 1 << 24, Code::invalid}};
    for (const Refusal& r : text) {
        nlohmann::json config = tiny_config("text_encoder");
        config[r.key] = r.value;
        expect_contains(message_of(r.code, [&] { make_t5(config); }), r.key);
    }
}

TEST(Models, AnotherFamilyIsNotTrainedAsThisOne) {
    nlohmann::json config = tiny_config("transformer");
    config["_class_name"] = "FluxTransformer2DModel";
    const std::string message = message_of(Code::unsupported, [&] { pixart().make_denoiser(config); });
    expect_contains(message, "FluxTransformer2DModel");
    expect_contains(message, "pixart");
}

// As the first PixArt folders were published, before the class had a name of its own.
TEST(Models, TheOldClassNameWithItsKindOfNormIsPixArt) {
    nlohmann::json config = tiny_config("transformer");
    config["_class_name"] = "Transformer2DModel";
    config["norm_type"] = "ada_norm_single";
    EXPECT_NO_THROW(pixart().make_denoiser(config));
    TemporaryFolder old;
    write_file(old / "model_index.json", R"({"transformer": ["diffusers", "Transformer2DModel"]})");
    std::filesystem::create_directory(old / "transformer");
    write_file(old / "transformer/config.json", config.dump());
    Folder folder(old.path());
    EXPECT_STREQ(find_family("", &folder).name, "pixart");
    config.erase("norm_type");
    message_of(Code::unsupported, [&] { pixart().make_denoiser(config); });
    write_file(old / "transformer/config.json", config.dump());
    message_of(Code::unsupported, [&] { find_family("", &folder); });
}

TEST(Models, FamilyIsFoundByNameOrFolder) {
    Folder folder(kTiny);
    EXPECT_STREQ(find_family("", &folder).name, "pixart");
    expect_contains(message_of(Code::unsupported, [] { find_family("sdxl", nullptr); }), "pixart");
    TemporaryFolder other;
    write_file(other / "model_index.json", R"({"transformer": ["diffusers", "OtherTransformer"]})");
    Folder unknown(other.path());
    expect_contains(message_of(Code::unsupported, [&] { find_family("", &unknown); }), "OtherTransformer");
}

TEST(Folder, ReadsWhatPythonWrites) {
    TemporaryFolder folder;
    write_file(folder / "a.json",
               R"({"low": -Infinity, "high": Infinity, "odd": NaN, "text": "NaN \"Infinity", "n": 1e-3})");
    nlohmann::json json = read_json(folder / "a.json");
    EXPECT_TRUE(json.at("low").is_null() && json.at("high").is_null() && json.at("odd").is_null());
    EXPECT_EQ(json.at("text"), "NaN \"Infinity");
    EXPECT_EQ(json.at("n"), 1e-3);
}

TEST(Folder, ErrorsNameTheFile) {
    TemporaryFolder folder;
    expect_contains(message_of(Code::not_found, [&] { Folder f(folder / "absent"); }), "absent");
    expect_contains(message_of(Code::not_found, [&] { Folder f(folder.path()); }), "model_index.json");
    write_file(folder / "model_index.json", "{\"transformer\": ");
    expect_contains(message_of(Code::invalid, [&] { Folder f(folder.path()); }), "model_index.json");
    write_file(folder / "model_index.json", "{\"vae\": [null, null]}");
    Folder f(folder.path());
    EXPECT_EQ(f.class_of("vae"), "");
    EXPECT_EQ(f.class_of("transformer"), "");
    expect_contains(message_of(Code::not_found, [&] { f.config("scheduler"); }), "scheduler_config.json");
    expect_contains(message_of(Code::not_found, [&] { f.path_of("vae"); }), "vae");
}

// Writes the tensors of `reader` under the names that `rename` gives them; those named "" are left out.
void rewrite_file(const SafetensorsReader& reader, const std::string& path,
                  const std::function<std::string(const SafeTensor&)>& rename,
                  std::vector<SafeTensorSource> extra = {}) {
    std::vector<SafeTensorSource> tensors = std::move(extra);
    for (const SafeTensor& t : reader.tensors()) {
        if (rename(t).empty()) continue;
        tensors.push_back({rename(t), t.type, t.shape, [&t](const EmitBytes& emit) { emit(t.bytes); }});
    }
    write_safetensors(path, tensors);
}

std::string same_name(const SafeTensor& t) { return t.name; }

std::map<std::string, std::vector<float>> load_all(const std::string& path, const Component& model) {
    std::map<std::string, std::vector<float>> values;
    load_weights(SafetensorsReader(path), model, [&](const ParameterSpec& p) {
        values[p.name].resize(size_t(numel(p.shape)));
        return Tensor{values[p.name].data(), DType::f32, p.shape};
    });
    return values;
}

SafeTensorSource zeros(const std::string& name, const Shape& shape) {
    return {name, SafeType::f32, shape, [shape](const EmitBytes& emit) {
                std::vector<float> values(size_t(numel(shape)));
                emit(std::as_bytes(std::span(values)));
            }};
}

TEST(Weights, UnknownMissingAndMisshapenTensorsAreNamed) {
    auto denoiser = pixart().make_denoiser(tiny_config("transformer"));
    SafetensorsReader reader(kTiny + "/transformer");
    TemporaryFolder folder;
    auto load = [&](Code code, const std::function<std::string(const SafeTensor&)>& rename,
                    std::vector<SafeTensorSource> extra) {
        rewrite_file(reader, folder / "model.safetensors", rename, std::move(extra));
        return message_of(code, [&] { load_all(folder / "model.safetensors", *denoiser); });
    };
    const std::string size_embedder = "adaln_single.emb.resolution_embedder.linear_1.weight";
    expect_contains(load(Code::unsupported, same_name, {zeros(size_embedder, {8, 256})}), size_embedder);
    auto without = [](const SafeTensor& t) { return t.name == "proj_out.bias" ? "" : t.name; };
    expect_contains(load(Code::not_found, without, {}), "proj_out.bias");
    expect_contains(load(Code::invalid, without, {zeros("proj_out.bias", {31})}), "proj_out.bias");

    // The table of positions that some files carry is no reason to refuse them.
    rewrite_file(reader, folder / "model.safetensors", same_name, {zeros("pos_embed.pos_embed", {1, 64, 24})});
    EXPECT_EQ(load_all(folder / "model.safetensors", *denoiser), load_all(kTiny + "/transformer", *denoiser));
}

TEST(Weights, OldAutoencoderNamesAndShapes) {
    auto vae = make_autoencoder_kl(tiny_config("vae"));
    SafetensorsReader reader(kTiny + "/vae");
    auto old_name = [](const SafeTensor& t) {
        std::string name = t.name;
        for (auto [now, before] : {std::pair<std::string, std::string>{"to_q", "query"},
                                   {"to_k", "key"},
                                   {"to_v", "value"},
                                   {"to_out.0", "proj_attn"}}) {
            size_t at = name.find(now);
            if (at != std::string::npos) name.replace(at, now.size(), before);
        }
        return name;
    };
    std::vector<SafeTensorSource> tensors;
    int renamed = 0;
    for (const SafeTensor& t : reader.tensors()) {
        Shape shape = t.shape;
        if (old_name(t) != t.name && shape.size() == 2) shape.insert(shape.end(), {1, 1});
        renamed += old_name(t) != t.name;
        tensors.push_back({old_name(t), t.type, shape, [&t](const EmitBytes& emit) { emit(t.bytes); }});
    }
    EXPECT_EQ(renamed, 16);
    TemporaryFolder folder;
    write_safetensors(folder / "old.safetensors", tensors);
    EXPECT_EQ(load_all(folder / "old.safetensors", *vae), load_all(kTiny + "/vae", *vae));
}

TEST(Weights, TextEncoderFromTheWholeModel) {
    auto encoder = make_t5(tiny_config("text_encoder"));
    SafetensorsReader reader(kTiny + "/text_encoder");
    TemporaryFolder folder;
    auto alias = [](const SafeTensor& t) { return t.name == "shared.weight" ? "encoder.embed_tokens.weight" : t.name; };
    rewrite_file(
        reader, folder / "t5.safetensors", alias,
        {zeros("decoder.block.0.layer.0.SelfAttention.q.weight", {24, 20}), zeros("lm_head.weight", {40, 20})});
    EXPECT_EQ(load_all(folder / "t5.safetensors", *encoder), load_all(kTiny + "/text_encoder", *encoder));
}

TEST(Models, LatentsMustCoverWholePatches) {
    auto denoiser = pixart().make_denoiser(tiny_config("transformer"));
    Graph graph;
    Builder b(graph, DType::f32);
    Bucket bucket{1, 5, 4, 3};
    ValueId latents = b.input("latents", {1, 4, 5, 4}, DType::f32), t = b.input("t", {1}, DType::f32);
    ValueId text = b.input("text", {1, 3, 20}, DType::f32);
    message_of(Code::invalid, [&] { denoiser->record(b, bucket, latents, t, text, kNone); });
}

}  // namespace
}  // namespace stepd
