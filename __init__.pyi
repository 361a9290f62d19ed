# Layers, losses and optimisers are entered by `python -m fusedstep.tools.generate`, which also sorts what is entered by hand.
from .backends import (
    Backend as Backend,
    asarray as asarray,
    backend as backend,
    backends as backends,
    use_backend as use_backend,
)
from .backends.threads import (
    num_threads as num_threads,
    set_num_threads as set_num_threads,
)
from .errors import (
    BackendUnavailable as BackendUnavailable,
    CategoryError as CategoryError,
    CheckpointError as CheckpointError,
    DataFileError as DataFileError,
    DeviceError as DeviceError,
    DtypeError as DtypeError,
    EmptyDataError as EmptyDataError,
    ExportError as ExportError,
    FusedstepError as FusedstepError,
    HyperparameterError as HyperparameterError,
    LabelError as LabelError,
    MissingDependency as MissingDependency,
    MixedBackends as MixedBackends,
    ModelFileError as ModelFileError,
    NonFiniteDataError as NonFiniteDataError,
    NonFiniteLossError as NonFiniteLossError,
    NotDifferentiable as NotDifferentiable,
    OutOfDeviceMemory as OutOfDeviceMemory,
    OutputPathError as OutputPathError,
    ProcessesDiffer as ProcessesDiffer,
    SampleWeightError as SampleWeightError,
    ShapeError as ShapeError,
    StateError as StateError,
    TooLarge as TooLarge,
    UnknownArgument as UnknownArgument,
    UnknownAttribute as UnknownAttribute,
    UnknownBackend as UnknownBackend,
    UnknownColumn as UnknownColumn,
)
from .framework.diagnostics.layer_statistics import (
    LayerStatistics as LayerStatistics,
)
from .framework.diagnostics.loss_surface import (
    LossSurface as LossSurface,
    loss_surface as loss_surface,
)
from .framework.diagnostics.mlflow import (
    MLflow as MLflow,
)
from .framework.diagnostics.parameter_path import (
    ParameterPath as ParameterPath,
)
from .framework.diagnostics.plots.curves import (
    plot_runs as plot_runs,
)
from .framework.diagnostics.plots.regions import (
    plot_decision_regions as plot_decision_regions,
)
from .framework.diagnostics.plots.surface import (
    plot_surfaces as plot_surfaces,
)
from .framework.diagnostics.tensorboard import (
    TensorBoard as TensorBoard,
)
from .framework.diagnostics.units import (
    UnitReport as UnitReport,
    unit_report as unit_report,
)
from .framework.diagnostics.wandb import (
    WandB as WandB,
)
from .framework.engine.averaging import (
    EMA as EMA,
)
from .framework.engine.checks import (
    GradientReport as GradientReport,
    gradient_check as gradient_check,
)
from .framework.engine.initializers import (
    Constant as Constant,
    GlorotNormal as GlorotNormal,
    GlorotUniform as GlorotUniform,
    HeNormal as HeNormal,
    HeUniform as HeUniform,
    Initializer as Initializer,
    LeCunNormal as LeCunNormal,
    Normal as Normal,
    Zeros as Zeros,
)
from .framework.engine.jacobians import (
    local_jacobians as local_jacobians,
)
from .framework.engine.model import (
    Sequential as Sequential,
    mlp as mlp,
)
from .framework.engine.step import (
    TrainStep as TrainStep,
)
from .framework.engine.step_loss import (
    StepLoss as StepLoss,
)
from .framework.estimators.bagging import (
    Bagging as Bagging,
)
from .framework.estimators.mlp_classifier import (
    MLPClassifier as MLPClassifier,
)
from .framework.estimators.mlp_regressor import (
    MLPRegressor as MLPRegressor,
)
from .framework.export.onnx.model_file import (
    export_onnx as export_onnx,
)
from .framework.export.persistence import (
    load as load,
    save as save,
)
from .framework.export.table_model import (
    TableModel as TableModel,
)
from .framework.export.torch.conversion import (
    from_torch as from_torch,
    load_state_dict as load_state_dict,
    to_torch as to_torch,
)
from .framework.layers import (
    Layer as Layer,
)
from .framework.layers.activations import (
    ELU as ELU,
    GELU as GELU,
    Identity as Identity,
    LeakyReLU as LeakyReLU,
    Mish as Mish,
    PReLU as PReLU,
    ReLU as ReLU,
    Sigmoid as Sigmoid,
    SiLU as SiLU,
    Tanh as Tanh,
)
from .framework.layers.dense import (
    Linear as Linear,
    Maxout as Maxout,
    TiedLinear as TiedLinear,
)
from .framework.layers.embedding import (
    ColumnEmbeddings as ColumnEmbeddings,
    Embedding as Embedding,
)
from .framework.layers.ensemble import (
    EnsembleLinear as EnsembleLinear,
    EnsembleMean as EnsembleMean,
    RepeatColumns as RepeatColumns,
    SeparateLinear as SeparateLinear,
)
from .framework.layers.images import (
    Conv2d as Conv2d,
    Flatten as Flatten,
    MaxPool2d as MaxPool2d,
)
from .framework.layers.noise import (
    Dropout as Dropout,
    GaussianNoise as GaussianNoise,
)
from .framework.layers.normalization import (
    LayerNorm as LayerNorm,
)
from .framework.layers.number_embedding import (
    PeriodicEmbedding as PeriodicEmbedding,
    PiecewiseLinearEmbedding as PiecewiseLinearEmbedding,
)
from .framework.layers.residual import (
    Residual as Residual,
)
from .framework.layers.softmax import (
    Softmax as Softmax,
)
from .framework.losses import (
    MAE as MAE,
    MSE as MSE,
    Bhattacharyya as Bhattacharyya,
    BinaryCrossEntropy as BinaryCrossEntropy,
    BinaryFocal as BinaryFocal,
    Focal as Focal,
    Hinge as Hinge,
    Huber as Huber,
    KLDivergence as KLDivergence,
    Loss as Loss,
    MultiClassHinge as MultiClassHinge,
    Poisson as Poisson,
    Quantile as Quantile,
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
    SymmetricKL as SymmetricKL,
)
from .framework.metrics.metric import (
    Metric as Metric,
)
from .framework.optimizers import (
    Optimizer as Optimizer,
    ParameterGroup as ParameterGroup,
)
from .framework.optimizers.adaptive import (
    AdaDelta as AdaDelta,
    AdaGrad as AdaGrad,
    Adam as Adam,
    Adamax as Adamax,
    AdamW as AdamW,
    NAdam as NAdam,
    RAdam as RAdam,
    RMSProp as RMSProp,
)
from .framework.optimizers.layerwise import (
    LAMB as LAMB,
)
from .framework.optimizers.momentum import (
    SGD as SGD,
    Momentum as Momentum,
    Nesterov as Nesterov,
)
from .framework.optimizers.muon import (
    Muon as Muon,
)
from .framework.optimizers.schedule_free import (
    ScheduleFreeAdamW as ScheduleFreeAdamW,
)
from .framework.optimizers.signs import (
    Lion as Lion,
    SignDescent as SignDescent,
)
from .framework.search import (
    Candidate as Candidate,
    SearchResult as SearchResult,
    SearchSpace as SearchSpace,
    SearchTrial as SearchTrial,
    search as search,
)
from .framework.search.rate_search import (
    RateSearch as RateSearch,
    find_learning_rate as find_learning_rate,
    sweep_learning_rate as sweep_learning_rate,
)
from .framework.second_order import (
    BFGS as BFGS,
    LBFGS as LBFGS,
    Backtracking as Backtracking,
    BestOf as BestOf,
    ConjugateGradient as ConjugateGradient,
    FixedStep as FixedStep,
    HessianFree as HessianFree,
    LineSearch as LineSearch,
    Minimization as Minimization,
    Newton as Newton,
    Objective as Objective,
    SteepestDescent as SteepestDescent,
    StrongWolfe as StrongWolfe,
    minimize as minimize,
)
from .framework.sources.memory_map import (
    memory_map as memory_map,
)
from .framework.sources.parquet_rows import (
    ParquetRows as ParquetRows,
)
from .framework.sources.row_source import (
    ArrayRows as ArrayRows,
    RowSource as RowSource,
)
from .framework.tables.encoder import (
    TableEncoder as TableEncoder,
)
from .framework.training.augmentation import (
    Augmentation as Augmentation,
    FeatureMasking as FeatureMasking,
    InputNoise as InputNoise,
    Mixup as Mixup,
)
from .framework.training.callbacks import (
    Callback as Callback,
    ProgressBar as ProgressBar,
)
from .framework.training.checkpoint import (
    Checkpoint as Checkpoint,
)
from .framework.training.history import (
    History as History,
)
from .framework.training.pruning import (
    Pruning as Pruning,
    prune as prune,
    sparsity as sparsity,
)
from .framework.training.schedules import (
    CosineDecay as CosineDecay,
    CosLog as CosLog,
    ExponentialDecay as ExponentialDecay,
    HalveOnWorse as HalveOnWorse,
    InverseTimeDecay as InverseTimeDecay,
    LinearWarmup as LinearWarmup,
    MomentumRamp as MomentumRamp,
    OneCycle as OneCycle,
    RateSchedule as RateSchedule,
    ReduceOnPlateau as ReduceOnPlateau,
    Schedule as Schedule,
    StepDecay as StepDecay,
)
from .framework.training.stopping import (
    EarlyStopping as EarlyStopping,
    StopOnInterrupt as StopOnInterrupt,
    StopOnStall as StopOnStall,
    StopOnTarget as StopOnTarget,
)
from .framework.training.trainer import (
    Trainer as Trainer,
)
from .kernels.targets.gemm_choices import (
    blas_choices as blas_choices,
    set_blas_choices as set_blas_choices,
)

__version__: str
