from .backends import (
    Backend as Backend,
)
from .backends import (
    asarray as asarray,
)
from .backends import (
    backend as backend,
)
from .backends import (
    backends as backends,
)
from .backends import (
    use_backend as use_backend,
)
from .backends.threads import (
    num_threads as num_threads,
)
from .backends.threads import (
    set_num_threads as set_num_threads,
)
from .errors import (
    BackendUnavailable as BackendUnavailable,
)
from .errors import (
    DataFileError as DataFileError,
)
from .errors import (
    DeviceError as DeviceError,
)
from .errors import (
    DtypeError as DtypeError,
)
from .errors import (
    EmptyDataError as EmptyDataError,
)
from .errors import (
    FusedstepError as FusedstepError,
)
from .errors import (
    HyperparameterError as HyperparameterError,
)
from .errors import (
    LabelError as LabelError,
)
from .errors import (
    MissingDependency as MissingDependency,
)
from .errors import (
    MixedBackends as MixedBackends,
)
from .errors import (
    ModelFileError as ModelFileError,
)
from .errors import (
    NonFiniteDataError as NonFiniteDataError,
)
from .errors import (
    NonFiniteLossError as NonFiniteLossError,
)
from .errors import (
    NotDifferentiable as NotDifferentiable,
)
from .errors import (
    OutOfDeviceMemory as OutOfDeviceMemory,
)
from .errors import (
    OutputPathError as OutputPathError,
)
from .errors import (
    ShapeError as ShapeError,
)
from .errors import (
    StateError as StateError,
)
from .errors import (
    TooLarge as TooLarge,
)
from .errors import (
    UnknownBackend as UnknownBackend,
)
from .errors import (
    UnknownColumn as UnknownColumn,
)
from .framework.diagnostics.layer_statistics import (
    LayerStatistics as LayerStatistics,
)
from .framework.diagnostics.loss_surface import (
    LossSurface as LossSurface,
)
from .framework.diagnostics.loss_surface import (
    loss_surface as loss_surface,
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
)
from .framework.diagnostics.units import (
    unit_report as unit_report,
)
from .framework.engine.checks import (
    GradientReport as GradientReport,
)
from .framework.engine.checks import (
    gradient_check as gradient_check,
)
from .framework.engine.initializers import (
    Constant as Constant,
)
from .framework.engine.initializers import (
    GlorotNormal as GlorotNormal,
)
from .framework.engine.initializers import (
    GlorotUniform as GlorotUniform,
)
from .framework.engine.initializers import (
    HeNormal as HeNormal,
)
from .framework.engine.initializers import (
    HeUniform as HeUniform,
)
from .framework.engine.initializers import (
    Initializer as Initializer,
)
from .framework.engine.initializers import (
    LeCunNormal as LeCunNormal,
)
from .framework.engine.initializers import (
    Normal as Normal,
)
from .framework.engine.initializers import (
    Zeros as Zeros,
)
from .framework.engine.jacobians import (
    local_jacobians as local_jacobians,
)
from .framework.engine.model import (
    Sequential as Sequential,
)
from .framework.engine.model import (
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
from .framework.export.persistence import (
    load as load,
)
from .framework.export.persistence import (
    save as save,
)
from .framework.layers import (
    ELU as ELU,
)
from .framework.layers import (
    GELU as GELU,
)
from .framework.layers import (
    Conv2d as Conv2d,
)
from .framework.layers import (
    Dropout as Dropout,
)
from .framework.layers import (
    Flatten as Flatten,
)
from .framework.layers import (
    GaussianNoise as GaussianNoise,
)
from .framework.layers import (
    Identity as Identity,
)
from .framework.layers import (
    Layer as Layer,
)
from .framework.layers import (
    LayerNorm as LayerNorm,
)
from .framework.layers import (
    LeakyReLU as LeakyReLU,
)
from .framework.layers import (
    Linear as Linear,
)
from .framework.layers import (
    Maxout as Maxout,
)
from .framework.layers import (
    MaxPool2d as MaxPool2d,
)
from .framework.layers import (
    PReLU as PReLU,
)
from .framework.layers import (
    ReLU as ReLU,
)
from .framework.layers import (
    Residual as Residual,
)
from .framework.layers import (
    Sigmoid as Sigmoid,
)
from .framework.layers import (
    SiLU as SiLU,
)
from .framework.layers import (
    Softmax as Softmax,
)
from .framework.layers import (
    Tanh as Tanh,
)
from .framework.layers import (
    TiedLinear as TiedLinear,
)
from .framework.losses import (
    MSE as MSE,
)
from .framework.losses import (
    Bhattacharyya as Bhattacharyya,
)
from .framework.losses import (
    BinaryCrossEntropy as BinaryCrossEntropy,
)
from .framework.losses import (
    Hinge as Hinge,
)
from .framework.losses import (
    KLDivergence as KLDivergence,
)
from .framework.losses import (
    Loss as Loss,
)
from .framework.losses import (
    MultiClassHinge as MultiClassHinge,
)
from .framework.losses import (
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
)
from .framework.losses import (
    SymmetricKL as SymmetricKL,
)
from .framework.optimizers import (
    LAMB as LAMB,
)
from .framework.optimizers import (
    SGD as SGD,
)
from .framework.optimizers import (
    AdaDelta as AdaDelta,
)
from .framework.optimizers import (
    AdaGrad as AdaGrad,
)
from .framework.optimizers import (
    Adam as Adam,
)
from .framework.optimizers import (
    Adamax as Adamax,
)
from .framework.optimizers import (
    AdamW as AdamW,
)
from .framework.optimizers import (
    Lion as Lion,
)
from .framework.optimizers import (
    Momentum as Momentum,
)
from .framework.optimizers import (
    NAdam as NAdam,
)
from .framework.optimizers import (
    Nesterov as Nesterov,
)
from .framework.optimizers import (
    Optimizer as Optimizer,
)
from .framework.optimizers import (
    ParameterGroup as ParameterGroup,
)
from .framework.optimizers import (
    RMSProp as RMSProp,
)
from .framework.optimizers import (
    SignDescent as SignDescent,
)
from .framework.search import (
    Candidate as Candidate,
)
from .framework.search import (
    SearchResult as SearchResult,
)
from .framework.search import (
    SearchSpace as SearchSpace,
)
from .framework.search import (
    SearchTrial as SearchTrial,
)
from .framework.search import (
    search as search,
)
from .framework.search.rate_search import (
    RateSearch as RateSearch,
)
from .framework.search.rate_search import (
    find_learning_rate as find_learning_rate,
)
from .framework.search.rate_search import (
    sweep_learning_rate as sweep_learning_rate,
)
from .framework.second_order import (
    BFGS as BFGS,
)
from .framework.second_order import (
    LBFGS as LBFGS,
)
from .framework.second_order import (
    Backtracking as Backtracking,
)
from .framework.second_order import (
    BestOf as BestOf,
)
from .framework.second_order import (
    ConjugateGradient as ConjugateGradient,
)
from .framework.second_order import (
    FixedStep as FixedStep,
)
from .framework.second_order import (
    HessianFree as HessianFree,
)
from .framework.second_order import (
    LineSearch as LineSearch,
)
from .framework.second_order import (
    Minimization as Minimization,
)
from .framework.second_order import (
    Newton as Newton,
)
from .framework.second_order import (
    Objective as Objective,
)
from .framework.second_order import (
    SteepestDescent as SteepestDescent,
)
from .framework.second_order import (
    StrongWolfe as StrongWolfe,
)
from .framework.second_order import (
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
)
from .framework.sources.row_source import (
    RowSource as RowSource,
)
from .framework.training.augmentation import (
    Augmentation as Augmentation,
)
from .framework.training.augmentation import (
    FeatureMasking as FeatureMasking,
)
from .framework.training.augmentation import (
    InputNoise as InputNoise,
)
from .framework.training.augmentation import (
    Mixup as Mixup,
)
from .framework.training.callbacks import (
    Callback as Callback,
)
from .framework.training.callbacks import (
    ProgressBar as ProgressBar,
)
from .framework.training.history import (
    History as History,
)
from .framework.training.pruning import (
    Pruning as Pruning,
)
from .framework.training.pruning import (
    prune as prune,
)
from .framework.training.pruning import (
    sparsity as sparsity,
)
from .framework.training.schedules import (
    CosineDecay as CosineDecay,
)
from .framework.training.schedules import (
    ExponentialDecay as ExponentialDecay,
)
from .framework.training.schedules import (
    HalveOnWorse as HalveOnWorse,
)
from .framework.training.schedules import (
    InverseTimeDecay as InverseTimeDecay,
)
from .framework.training.schedules import (
    LinearWarmup as LinearWarmup,
)
from .framework.training.schedules import (
    MomentumRamp as MomentumRamp,
)
from .framework.training.schedules import (
    OneCycle as OneCycle,
)
from .framework.training.schedules import (
    RateSchedule as RateSchedule,
)
from .framework.training.schedules import (
    ReduceOnPlateau as ReduceOnPlateau,
)
from .framework.training.schedules import (
    Schedule as Schedule,
)
from .framework.training.schedules import (
    StepDecay as StepDecay,
)
from .framework.training.stopping import (
    EarlyStopping as EarlyStopping,
)
from .framework.training.stopping import (
    StopOnInterrupt as StopOnInterrupt,
)
from .framework.training.stopping import (
    StopOnStall as StopOnStall,
)
from .framework.training.stopping import (
    StopOnTarget as StopOnTarget,
)
from .framework.training.trainer import (
    Trainer as Trainer,
)

__version__: str
