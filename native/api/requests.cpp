#include "api/requests.h"

#include "base/error.h"

namespace stepd::api {
namespace {

// Calls `each` for the objects of a top-level array; null is an empty one.
template <class Each>
void for_array(const std::string& json, const char* what, const Each& each) {
    const nlohmann::json array = parse_json(json, what);
    if (array.is_null()) return;
    STEPD_REQUIRE(array.is_array(), Code::invalid, what, ": expected an array, got ", array.type_name());
    for (size_t i = 0; i < array.size(); i++) {
        JsonObject o(array[i], std::string(what) + "[" + std::to_string(i) + "]");
        each(o);
        o.finish();
    }
}

// Calls `read` on a top-level object.
template <class Read>
void for_object(const std::string& json, const char* what, const Read& read) {
    const nlohmann::json value = parse_json(json, what);
    JsonObject o(value, what);
    read(o);
    o.finish();
}

std::vector<SampleFiles> parse_sample_files(JsonObject& o) {
    std::vector<SampleFiles> samples;
    o.objects("samples", [&](JsonObject s) {
        SampleFiles& files = samples.emplace_back();
        s.read("latents", files.latents);
        s.require("latents", files.latents);
        s.read("text", files.text);
        s.require("text", files.text);
        s.finish();
    });
    return samples;
}

PreviewRequest parse_preview(JsonObject o) {
    PreviewRequest r;
    o.read("every", r.every);
    o.read("out", r.out);
    o.finish();
    return r;
}

}  // namespace

SessionConfig parse_session_config(const std::string& json) {
    const nlohmann::json value = parse_json(json, "config");
    return parse_config(JsonObject(value, "config"));
}

PlanRequest parse_plan(const std::string& json) {
    PlanRequest r;
    for_object(json, "request", [&](JsonObject& o) {
        r.config = parse_config(o.object("config"));
        o.objects("shapes", [&](JsonObject s) {
            PixelShape shape;
            s.read("width", shape.width);
            s.read("height", shape.height);
            s.read("text_tokens", shape.text_tokens);
            s.read("batch", shape.batch);
            s.read("evaluation", shape.evaluation);
            s.finish();
            r.shapes.push_back(shape);
        });
    });
    return r;
}

InitModelRequest parse_init_model(const std::string& json) {
    InitModelRequest r;
    for_object(json, "request", [&](JsonObject& o) {
        o.read("family", r.family);
        o.read("component", r.component);
        if (r.component.empty()) r.component = "transformer";
        o.read("config", r.config);
        o.read("seed", r.seed);
        o.read("out", r.out);
        o.read("dtype", r.dtype);
        if (r.dtype.empty()) r.dtype = "fp32";
    });
    return r;
}

BenchRequest parse_bench(const std::string& json) {
    BenchRequest r;
    for_object(json, "request", [&](JsonObject& o) {
        o.read("cases", r.cases);
        o.read("steps", r.steps);
        o.read("warmup", r.warmup);
        o.read("profile", r.profile);
    });
    return r;
}

std::vector<ImageItem> parse_images(const std::string& json) {
    std::vector<ImageItem> items;
    for_array(json, "images", [&](JsonObject& o) {
        ImageItem& i = items.emplace_back();
        o.read("path", i.path);
        o.require("path", i.path);
        o.read("resize_width", i.resize_width);
        o.read("resize_height", i.resize_height);
        o.read("crop_x", i.crop_x);
        o.read("crop_y", i.crop_y);
        o.read("width", i.width);
        o.read("height", i.height);
        o.read("flip_x", i.flip_x);
        o.read("flip_y", i.flip_y);
        o.read("out", i.out);
        o.require("out", i.out);
    });
    return items;
}

std::vector<TextItem> parse_captions(const std::string& json) {
    std::vector<TextItem> items;
    for_array(json, "captions", [&](JsonObject& o) {
        TextItem& i = items.emplace_back();
        o.read("ids", i.ids);
        o.read("out", i.out);
        o.require("out", i.out);
    });
    return items;
}

SamplesRequest parse_samples(const std::string& json) {
    SamplesRequest r;
    for_object(json, "request", [&](JsonObject& o) {
        r.samples = parse_sample_files(o);
        if (!o.has("empty")) return;
        JsonObject empty = o.object("empty");
        empty.read("path", r.empty);
        empty.finish();
    });
    return r;
}

std::vector<TrainStep> parse_steps(const std::string& json) {
    std::vector<TrainStep> steps;
    for_array(json, "steps", [&](JsonObject& o) {
        TrainStep& step = steps.emplace_back();
        o.objects("batches", [&](JsonObject b) {
            MicroBatch& batch = step.batches.emplace_back();
            b.read("index", batch.index);
            STEPD_REQUIRE(batch.index >= 0, Code::invalid, b.member("index"), " = ", batch.index, " is negative");
            b.read("samples", batch.samples);
            b.finish();
        });
    });
    return steps;
}

std::vector<EvaluationBatch> parse_evaluations(const std::string& json) {
    std::vector<EvaluationBatch> batches;
    for_array(json, "evaluations", [&](JsonObject& o) {
        EvaluationBatch& b = batches.emplace_back();
        b.samples = parse_sample_files(o);
        o.read("first", b.first);
        o.read("seed", b.seed);
        o.read("timesteps", b.timesteps);
    });
    return batches;
}

std::vector<SampleRequest> parse_sample_requests(const std::string& json) {
    std::vector<SampleRequest> requests;
    for_array(json, "requests", [&](JsonObject& o) {
        SampleRequest& r = requests.emplace_back();
        o.read("ids", r.ids);
        o.read("negative_ids", r.negative_ids);
        o.read("width", r.width);
        o.read("height", r.height);
        o.read("steps", r.steps);
        o.read("guidance", r.guidance);
        o.read("seed", r.seed);
        o.read("sampler", r.sampler);
        o.read("ema", r.ema);
        o.read("batch_index", r.batch_index);
        o.read("batch_size", r.batch_size);
        if (o.has("preview")) r.preview = parse_preview(o.object("preview"));
        o.read("out", r.out);
    });
    return requests;
}

ExportRequest parse_export(const std::string& json) {
    ExportRequest r;
    for_object(json, "export", [&](JsonObject& o) {
        o.read("path", r.path);
        o.read("format", r.format);
        o.read("dtype", r.dtype);
        o.read("ema", r.ema);
        o.read("metadata", r.metadata);
    });
    return r;
}

std::string to_json(const StepEvent& e) {
    return nlohmann::json(
               {{"step", e.step}, {"loss", e.loss}, {"lr", e.lr}, {"grad_norm", e.grad_norm}, {"seconds", e.seconds}})
        .dump();
}

std::string to_json(const ProgressEvent& e) {
    return nlohmann::json({{"stage", e.stage}, {"done", e.done}, {"total", e.total}}).dump();
}

std::string to_json(const PreviewEvent& e) {
    nlohmann::json json = {{"request", e.request}, {"step", e.step},         {"steps", e.steps},
                           {"path", e.path},       {"timestep", e.timestep}, {"error", e.error}};
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);  // a path need not be UTF-8
}

std::string to_json(const TrainResult& r) {
    return nlohmann::json({{"steps", r.steps}, {"cancelled", r.cancelled}}).dump();
}

}  // namespace stepd::api
