// SPDX-License-Identifier: Apache-2.0
// Builds a TensorRT plan from ONNX where TensorRT's Python package cannot be had, as with TensorRT 8.6 and a Python
// newer than it knows. build_engine.py beside it prepares the ONNX and puts the description in front of the plan.
//
// trtpose_build_engine --version
// trtpose_build_engine MODEL.onnx PLAN [option...]
//   --precision fp32|fp16|int8   what TensorRT 8 may compute in; later ones take it from the graph (default: fp32)
//   --keep FILE                  names of nodes, one a line, whose layers stay FP32 (TensorRT 8)
//   --shape NAME MIN OPT MAX     shapes of an input with open sides, as 1x3x960x960
//   --workspace MIB              scratch memory a layer may use
//   --opt-level N                0 to 5
//   --tf32                       let FP32 layers compute in TF32
//   --timing-cache FILE          read and written
//   --plugins                    open libnvinfer_plugin first, for graphs with TensorRT's own plugins
//   --inspect FILE               write what the engine inspector says of every layer
//   --time RUNS                  run the engine on zeros, or on --input NAME FILE, and say how long it takes
//
// Prints one JSON object. Without a GPU it says so before anything of TensorRT is called, which would crash.
#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace {

namespace trt = nvinfer1;

[[noreturn]] void fail(const std::string& text) { throw std::runtime_error(text); }

/// Keeps the errors, for the sentence at the end; prints nothing of what is usual.
class Log final : public trt::ILogger {
public:
    void log(Severity severity, const char* text) noexcept override {
        if (severity > Severity::kERROR) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        if (first_.empty()) first_ = text;
        std::fprintf(stderr, "TensorRT: %s\n", text);
    }
    std::string first() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return first_.empty() ? "TensorRT gives no reason" : first_;
    }

private:
    std::mutex mutex_;
    std::string first_;
};

std::vector<char> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(path + ": cannot be read");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const void* data, size_t bytes) {
    const std::string part = path + ".part";
    std::ofstream file(part, std::ios::binary);
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    file.close();
    if (!file || std::rename(part.c_str(), path.c_str()) != 0) {
        static_cast<void>(std::remove(part.c_str()));
        fail(path + ": cannot be written");
    }
}

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return out + "\"";
}

/// TensorRT and TensorRT for RTX number themselves differently; the library is what counts, not the headers.
int library_version() { return getInferLibVersion(); }
#if TRTPOSE_BUILD_ENGINE_RTX
constexpr bool kRtx = true;
#else
constexpr bool kRtx = false;
#endif

std::string version_text() {
    const int v = library_version();
    // Two digits each for minor and patch; before TensorRT 10 one for the minor.
    const int minor = v >= 10000 ? v / 100 % 100 : v / 100 % 10;
    return std::to_string(v / (v >= 10000 ? 10000 : 1000)) + "." + std::to_string(minor) + "." +
           std::to_string(v % 100);
}

constexpr bool kStronglyTyped = NV_TENSORRT_MAJOR >= 10;

std::string join(const trt::Dims& dims) {
    std::string out;
    for (int i = 0; i < dims.nbDims; ++i) out += (i ? ", " : "") + std::to_string(dims.d[i]);
    return out;
}

std::string describe(const trt::ITensor& tensor) {
    const char* type = "other";
    switch (tensor.getType()) {
        case trt::DataType::kFLOAT: type = "float32"; break;
        case trt::DataType::kHALF: type = "float16"; break;
        case trt::DataType::kINT32: type = "int32"; break;
        default: break;
    }
    return "{\"name\": " + quoted(tensor.getName()) + ", \"dtype\": \"" + type + "\", \"shape\": [" +
           join(tensor.getDimensions()) + "]}";
}

trt::Dims parse_dims(const std::string& text) {
    trt::Dims dims{};
    const char* at = text.c_str();
    while (*at) {
        char* end = nullptr;
        const long side = std::strtol(at, &end, 10);
        if (end == at || side < 1 || dims.nbDims >= trt::Dims::MAX_DIMS) fail("'" + text + "' is not a shape");
        dims.d[dims.nbDims++] = static_cast<std::remove_reference_t<decltype(dims.d[0])>>(side);
        at = *end == 'x' ? end + 1 : end;
        if (at == end && *end) fail("'" + text + "' is not a shape");
    }
    return dims;
}

struct Options {
    std::string model, plan, precision = "fp32", keep, cache, inspect;
    std::map<std::string, std::array<trt::Dims, 3>> shapes;
    std::map<std::string, std::string> inputs;
    size_t workspace = 0;
    int opt_level = -1, time = 0;
    bool tf32 = false, plugins = false;
};

Options parse(int argc, char** argv) {
    Options o;
    std::vector<std::string> places;
    int at = 1;
    const auto next = [&]() -> std::string {
        if (++at >= argc) fail(std::string(argv[at - 1]) + ": a value is missing");
        return argv[at];
    };
    for (; at < argc; ++at) {
        const std::string word = argv[at];
        if (word == "--precision") {
            o.precision = next();
            if (o.precision != "fp32" && o.precision != "fp16" && o.precision != "int8")
                fail("--precision " + o.precision + ": expected fp32, fp16 or int8");
        } else if (word == "--keep") {
            o.keep = next();
        } else if (word == "--shape") {
            const std::string name = next();
            for (auto& dims : o.shapes[name]) dims = parse_dims(next());
        } else if (word == "--input") {
            const std::string name = next();
            o.inputs[name] = next();
        } else if (word == "--workspace") {
            o.workspace = std::stoul(next()) << 20;
        } else if (word == "--opt-level") {
            o.opt_level = std::stoi(next());
        } else if (word == "--timing-cache") {
            o.cache = next();
        } else if (word == "--inspect") {
            o.inspect = next();
        } else if (word == "--time") {
            o.time = std::stoi(next());
        } else if (word == "--tf32") {
            o.tf32 = true;
        } else if (word == "--plugins") {
            o.plugins = true;
        } else if (word.rfind("--", 0) == 0) {
            fail(word + ": no such option");
        } else {
            places.push_back(word);
        }
    }
    if (places.size() != 2) fail("give the ONNX model and the plan to write");
    o.model = places[0];
    o.plan = places[1];
    return o;
}

/// Before anything of TensorRT: its own calls crash without a driver. Returns the GPU as JSON.
std::string require_gpu() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess || count == 0)
        fail(std::string("no GPU (") + (status != cudaSuccess ? cudaGetErrorString(status) : "the driver shows none") +
             "); TensorRT builds engines only on the GPU they are for");
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) fail("the driver does not describe its GPU");
    return "{\"name\": " + quoted(properties.name) + ", \"compute_capability\": \"" + std::to_string(properties.major) +
           "." + std::to_string(properties.minor) + "\"}";
}

void open_plugins(Log& log) {
    const std::string name = "libnvinfer_plugin.so." + std::to_string(NV_TENSORRT_MAJOR);
    void* const library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (!library) fail(name + ": cannot be opened (" + ::dlerror() + ")");
    using Init = bool (*)(void*, const char*);
    const auto init = reinterpret_cast<Init>(::dlsym(library, "initLibNvInferPlugins"));
    if (!init || !init(&log, "")) fail(name + ": does not start");
}

#if NV_TENSORRT_MAJOR < 10
/// Allow FP16 and INT8, and hold some layers to FP32. A second layer of one node has a number behind its name.
int allow(const Options& o, trt::INetworkDefinition& network, trt::IBuilderConfig& config) {
    if (o.precision == "fp32") return 0;
    config.setFlag(trt::BuilderFlag::kFP16);
    if (o.precision == "int8") config.setFlag(trt::BuilderFlag::kINT8);
    config.setFlag(trt::BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
    std::set<std::string> keep;
    if (!o.keep.empty()) {
        std::ifstream lines(o.keep);
        if (!lines) fail(o.keep + ": cannot be read");
        for (std::string line; std::getline(lines, line);) keep.insert(line);
    }
    int pinned = 0;
    for (int i = 0; i < network.getNbLayers(); ++i) {
        trt::ILayer& layer = *network.getLayer(i);
        std::string name = layer.getName();
        if (!keep.count(name)) {
            const size_t bar = name.find_last_not_of("0123456789");
            if (bar == std::string::npos || bar + 1 == name.size() || name[bar] != '_') continue;
            name.resize(bar);
            if (!keep.count(name)) continue;
        }
        const trt::LayerType type = layer.getType();
        if (type == trt::LayerType::kCONSTANT || type == trt::LayerType::kSHAPE || type == trt::LayerType::kQUANTIZE ||
            type == trt::LayerType::kDEQUANTIZE)
            continue;
        bool floats = true;
        for (int k = 0; k < layer.getNbOutputs(); ++k)
            floats = floats && layer.getOutput(k)->getType() == trt::DataType::kFLOAT;
        if (!floats) continue;
        layer.setPrecision(trt::DataType::kFLOAT);
        for (int k = 0; k < layer.getNbOutputs(); ++k) layer.setOutputType(k, trt::DataType::kFLOAT);
        ++pinned;
    }
    return pinned;
}
#else
int allow(const Options&, trt::INetworkDefinition&, trt::IBuilderConfig&) { return 0; }
#endif

uint32_t network_flags() {
#if NV_TENSORRT_MAJOR >= 11
    return 0;
#elif NV_TENSORRT_MAJOR >= 10
    return 1u << static_cast<uint32_t>(trt::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
    return 1u << static_cast<uint32_t>(trt::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#endif
}

long long scratch_bytes(const trt::ICudaEngine& engine) {
#if NV_TENSORRT_MAJOR > 10 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR >= 1)
    return static_cast<long long>(engine.getDeviceMemorySizeV2());
#else
    return static_cast<long long>(engine.getDeviceMemorySize());
#endif
}

void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) fail(std::string("CUDA could not ") + what + ": " + cudaGetErrorString(status));
}

size_t element_bytes(trt::DataType type) {
    switch (type) {
        case trt::DataType::kFLOAT:
        case trt::DataType::kINT32: return 4;
        case trt::DataType::kHALF: return 2;
        default: return 8;  // more than enough for what pose networks have
    }
}

/// Milliseconds of bare enqueues by the GPU's clock, sorted, at the best shapes of the first profile.
std::vector<float> time_engine(trt::ICudaEngine& engine, const Options& o) {
    const std::unique_ptr<trt::IExecutionContext> context(engine.createExecutionContext());
    if (!context) fail("no execution context could be made");
    std::vector<void*> blocks;
    for (int pass = 0; pass < 2; ++pass) {  // inputs first: outputs' shapes follow from them
        for (int i = 0; i < engine.getNbIOTensors(); ++i) {
            const char* name = engine.getIOTensorName(i);
            const bool input = engine.getTensorIOMode(name) == trt::TensorIOMode::kINPUT;
            if (input != (pass == 0)) continue;
            if (input) {
                const auto shape = o.shapes.find(name);
                const trt::Dims dims = shape != o.shapes.end() ? shape->second[1] : engine.getTensorShape(name);
                if (!context->setInputShape(name, dims)) fail(std::string(name) + ": does not take its own shape");
            }
            const trt::Dims dims = context->getTensorShape(name);
            size_t bytes = element_bytes(engine.getTensorDataType(name));
            for (int d = 0; d < dims.nbDims; ++d) bytes *= static_cast<size_t>(dims.d[d]);
            void* block = nullptr;
            check(cudaMalloc(&block, std::max<size_t>(bytes, 256)), "take memory");
            check(cudaMemset(block, 0, bytes), "clear memory");
            const auto file = o.inputs.find(name);
            if (file != o.inputs.end()) {
                const std::vector<char> values = read_file(file->second);
                check(cudaMemcpy(block, values.data(), std::min(values.size(), bytes), cudaMemcpyHostToDevice),
                      "upload");
            }
            blocks.push_back(block);
            if (!context->setTensorAddress(name, block)) fail(std::string(name) + ": takes no address");
        }
    }
    check(cudaDeviceSynchronize(), "upload");
    cudaStream_t stream = nullptr;
    cudaEvent_t begun = nullptr, done = nullptr;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream");
    check(cudaEventCreate(&begun), "make an event");
    check(cudaEventCreate(&done), "make an event");
    std::vector<float> times;
    for (int i = -10; i < o.time; ++i) {
        check(cudaEventRecord(begun, stream), "record an event");
        if (!context->enqueueV3(stream)) fail("the engine does not run");
        check(cudaEventRecord(done, stream), "record an event");
        check(cudaStreamSynchronize(stream), "finish a run");
        float ms = 0;
        check(cudaEventElapsedTime(&ms, begun, done), "read the time");
        if (i >= 0) times.push_back(ms);
    }
    check(cudaEventDestroy(begun), "end an event");
    check(cudaEventDestroy(done), "end an event");
    check(cudaStreamDestroy(stream), "end a stream");
    for (void* block : blocks) check(cudaFree(block), "free memory");
    std::sort(times.begin(), times.end());
    return times;
}

/// The network refers to weights of the parser, and perhaps of the file: both outlive the build.
std::unique_ptr<nvonnxparser::IParser> parse_onnx(const Options& o, const std::vector<char>& onnx,
                                                  trt::INetworkDefinition& network, Log& log) {
    std::unique_ptr<nvonnxparser::IParser> parser(
        static_cast<nvonnxparser::IParser*>(createNvOnnxParser_INTERNAL(&network, &log, getNvOnnxParserVersion())));
    if (!parser) fail("TensorRT's ONNX parser does not start: " + log.first());
    if (!parser->parse(onnx.data(), onnx.size())) {
        const std::string reason = parser->getNbErrors() > 0 ? parser->getError(0)->desc() : log.first();
        fail(o.model + ": TensorRT " + version_text() + " refuses it: " + reason);
    }
    return parser;
}

void configure(const Options& o, trt::IBuilderConfig& config) {
    if (!o.tf32) config.clearFlag(trt::BuilderFlag::kTF32);
    if (o.workspace) config.setMemoryPoolLimit(trt::MemoryPoolType::kWORKSPACE, o.workspace);
    if (o.opt_level >= 0) config.setBuilderOptimizationLevel(o.opt_level);
    config.setMaxAuxStreams(0);
    config.setProfilingVerbosity(trt::ProfilingVerbosity::kDETAILED);
#if !TRTPOSE_BUILD_ENGINE_RTX
    // TensorRT's own kernels alone: cuDNN and cuBLAS cost hundreds of megabytes, and may not be there.
    config.setTacticSources(1u << static_cast<uint32_t>(trt::TacticSource::kEDGE_MASK_CONVOLUTIONS) |
                            1u << static_cast<uint32_t>(trt::TacticSource::kJIT_CONVOLUTIONS));
#endif
#if NV_TENSORRT_MAJOR < 10
    // Clones of an engine want the same profile; later versions share them anyway.
    config.setPreviewFeature(trt::PreviewFeature::kPROFILE_SHARING_0806, true);
#endif
}

void add_shapes(const Options& o, trt::IBuilder& builder, trt::IBuilderConfig& config) {
    if (o.shapes.empty()) return;
    trt::IOptimizationProfile* const profile = builder.createOptimizationProfile();
    for (const auto& [name, dims] : o.shapes) {
        const trt::OptProfileSelector which[] = {trt::OptProfileSelector::kMIN, trt::OptProfileSelector::kOPT,
                                                 trt::OptProfileSelector::kMAX};
        for (size_t i = 0; i < 3; ++i) {
            if (!profile->setDimensions(name.c_str(), which[i], dims[i]))
                fail(o.model + ": its input '" + name + "' does not take the shapes given");
        }
    }
    config.addOptimizationProfile(profile);
}

/// Timings of earlier builds, null without.
std::unique_ptr<trt::ITimingCache> open_cache(const Options& o, trt::IBuilderConfig& config) {
    if (kRtx || o.cache.empty()) return nullptr;
    std::vector<char> before;
    if (std::ifstream(o.cache).good()) before = read_file(o.cache);
    std::unique_ptr<trt::ITimingCache> cache(config.createTimingCache(before.data(), before.size()));
    if (!cache) cache.reset(config.createTimingCache(nullptr, 0));
    if (cache) config.setTimingCache(*cache, false);
    return cache;
}

struct Opened {
    long long scratch = -1;    ///< bytes, -1 where the engine does not run here
    std::vector<float> times;  ///< ms, rising; none where they were not asked for
};

/// What the engine says of itself.
Opened open_engine(const Options& o, const trt::IHostMemory& plan, Log& log) {
    if (kRtx) return {};
    const std::unique_ptr<trt::IRuntime> runtime(
        static_cast<trt::IRuntime*>(createInferRuntime_INTERNAL(&log, library_version())));
    const std::unique_ptr<trt::ICudaEngine> engine(runtime ? runtime->deserializeCudaEngine(plan.data(), plan.size())
                                                           : nullptr);
    if (!engine) fail(o.model + ": TensorRT does not open the engine it built: " + log.first());
    Opened out;
    out.scratch = scratch_bytes(*engine);
    if (!o.inspect.empty()) {
        const std::unique_ptr<trt::IEngineInspector> inspector(engine->createEngineInspector());
        const char* text = inspector->getEngineInformation(trt::LayerInformationFormat::kJSON);
        write_file(o.inspect, text, std::strlen(text));
    }
    if (o.time > 0) out.times = time_engine(*engine, o);
    return out;
}

void print_tensors(const trt::INetworkDefinition& network) {
    std::string inputs, outputs;
    for (int i = 0; i < network.getNbInputs(); ++i) inputs += (i ? ", " : "") + describe(*network.getInput(i));
    for (int i = 0; i < network.getNbOutputs(); ++i) outputs += (i ? ", " : "") + describe(*network.getOutput(i));
    std::printf("\"inputs\": [%s], \"outputs\": [%s]}\n", inputs.c_str(), outputs.c_str());
}

int run(const Options& o) {
    const std::vector<char> onnx = read_file(o.model);
    // TensorRT for RTX builds without one.
    const std::string gpu = kRtx ? "null" : require_gpu();
    Log log;
    if (o.plugins) open_plugins(log);
    const std::unique_ptr<trt::IBuilder> builder(
        static_cast<trt::IBuilder*>(createInferBuilder_INTERNAL(&log, library_version())));
    if (!builder) fail("TensorRT's builder does not start: " + log.first());
    const std::unique_ptr<trt::INetworkDefinition> network(builder->createNetworkV2(network_flags()));
    if (!network) fail("TensorRT makes no network: " + log.first());
    const auto parser = parse_onnx(o, onnx, *network, log);
    const std::unique_ptr<trt::IBuilderConfig> config(builder->createBuilderConfig());
    const int pinned = allow(o, *network, *config);
    configure(o, *config);
    add_shapes(o, *builder, *config);
    const auto cache = open_cache(o, *config);
    const auto start = std::chrono::steady_clock::now();
    const std::unique_ptr<trt::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
    if (!plan) fail(o.model + ": TensorRT " + version_text() + " cannot build it: " + log.first());
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (cache) {
        const std::unique_ptr<trt::IHostMemory> after(cache->serialize());
        if (after) write_file(o.cache, after->data(), after->size());
    }
    const Opened opened = open_engine(o, *plan, log);
    write_file(o.plan, plan->data(), plan->size());
    std::printf("{\"runtime\": \"%s\", \"version\": \"%s\", \"strongly_typed\": %s, \"gpu\": %s, \"seconds\": %.1f, ",
                kRtx ? "rtx" : "tensorrt", version_text().c_str(), kStronglyTyped ? "true" : "false", gpu.c_str(),
                seconds);
    std::printf("\"plan_bytes\": %zu, \"activations\": %lld, \"pinned\": %d, ", plan->size(), opened.scratch, pinned);
    if (const auto& times = opened.times; !times.empty()) {
        std::printf("\"median_ms\": %.4f, \"p99_ms\": %.4f, ", times[times.size() / 2], times[times.size() * 99 / 100]);
    }
    print_tensors(*network);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
            std::printf("{\"runtime\": \"%s\", \"version\": \"%s\", \"strongly_typed\": %s}\n",
                        kRtx ? "rtx" : "tensorrt", version_text().c_str(), kStronglyTyped ? "true" : "false");
            return 0;
        }
        return run(parse(argc, argv));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
