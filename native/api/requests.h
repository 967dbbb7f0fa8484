// JSON requests of the C interface as structs, checked strictly: an unknown key is an error that names it.
#pragma once

#include <string>
#include <vector>

#include "train/bench.h"
#include "train/init_model.h"
#include "train/session.h"

namespace stepd::api {

struct PlanRequest {
    SessionConfig config;
    std::vector<PixelShape> shapes;
};

struct SamplesRequest {
    std::vector<SampleFiles> samples;
    std::string empty;
};

SessionConfig parse_session_config(const std::string& json);
PlanRequest parse_plan(const std::string& json);
InitModelRequest parse_init_model(const std::string& json);
BenchRequest parse_bench(const std::string& json);
std::vector<ImageItem> parse_images(const std::string& json);
std::vector<TextItem> parse_captions(const std::string& json);
SamplesRequest parse_samples(const std::string& json);
std::vector<TrainStep> parse_steps(const std::string& json);
std::vector<EvaluationBatch> parse_evaluations(const std::string& json);
std::vector<SampleRequest> parse_sample_requests(const std::string& json);
ExportRequest parse_export(const std::string& json);

std::string to_json(const StepEvent& event);
std::string to_json(const ProgressEvent& event);
std::string to_json(const PreviewEvent& event);
std::string to_json(const TrainResult& result);

}  // namespace stepd::api
