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
    DataFileError as DataFileError,
    DtypeError as DtypeError,
    EmptyDataError as EmptyDataError,
    FusedstepError as FusedstepError,
    HyperparameterError as HyperparameterError,
    LabelError as LabelError,
    MissingDependency as MissingDependency,
    MixedBackends as MixedBackends,
    ModelFileError as ModelFileError,
    NonFiniteDataError as NonFiniteDataError,
    NonFiniteLossError as NonFiniteLossError,
    OutputPathError as OutputPathError,
    ShapeError as ShapeError,
    StateError as StateError,
    UnknownBackend as UnknownBackend,
    UnknownColumn as UnknownColumn,
)
from .framework.callbacks import (
    Callback as Callback,
    EarlyStopping as EarlyStopping,
    ProgressBar as ProgressBar,
)
from .framework.checks import (
    GradientReport as GradientReport,
    gradient_check as gradient_check,
)
from .framework.history import (
    History as History,
)
from .framework.initializers import (
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
from .framework.jacobians import (
    local_jacobians as local_jacobians,
)
from .framework.layers import (
    Dropout as Dropout,
    ELU as ELU,
    GELU as GELU,
    GaussianNoise as GaussianNoise,
    Identity as Identity,
    Layer as Layer,
    LayerNorm as LayerNorm,
    LeakyReLU as LeakyReLU,
    Linear as Linear,
    Maxout as Maxout,
    PReLU as PReLU,
    ReLU as ReLU,
    Residual as Residual,
    SiLU as SiLU,
    Sigmoid as Sigmoid,
    Softmax as Softmax,
    Tanh as Tanh,
    TiedLinear as TiedLinear,
)
from .framework.losses import (
    Bhattacharyya as Bhattacharyya,
    BinaryCrossEntropy as BinaryCrossEntropy,
    Hinge as Hinge,
    KLDivergence as KLDivergence,
    Loss as Loss,
    MSE as MSE,
    MultiClassHinge as MultiClassHinge,
    SoftmaxCrossEntropy as SoftmaxCrossEntropy,
    SymmetricKL as SymmetricKL,
)
from .framework.model import (
    Sequential as Sequential,
    mlp as mlp,
)
from .framework.optimizers import (
    AdaDelta as AdaDelta,
    AdaGrad as AdaGrad,
    Adam as Adam,
    AdamW as AdamW,
    Adamax as Adamax,
    LAMB as LAMB,
    Lion as Lion,
    Momentum as Momentum,
    NAdam as NAdam,
    Nesterov as Nesterov,
    Optimizer as Optimizer,
    ParameterGroup as ParameterGroup,
    RMSProp as RMSProp,
    SGD as SGD,
    SignDescent as SignDescent,
)
from .framework.persistence import (
    load as load,
    save as save,
)
from .framework.step import (
    StepLoss as StepLoss,
    TrainStep as TrainStep,
)
from .framework.trainer import (
    Trainer as Trainer,
)

__version__: str
