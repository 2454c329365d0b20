"""Every public name, and the file it lives in."""

from .datasets import check_dataset as check_dataset
from .executors import check_executor as check_executor
from .formats import check_format as check_format
from .interventions import check_intervention as check_intervention
from .layers import check_layer as check_layer
from .models import check_model as check_model
from .monitors import check_monitor as check_monitor
from .optimizers import check_optimizer as check_optimizer
from .trackers import check_tracker as check_tracker
