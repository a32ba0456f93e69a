"""Jobs in AzureML: the same container and command line, described for azure-ai-ml, which uploads and starts it.

:mod:`~runner.azureml.command` is what ``--azureml`` does; :mod:`~runner.azureml.job` and
:mod:`~runner.azureml.sweep_job` describe the job, without any Azure package; :mod:`~runner.azureml.workspace` alone
imports them. What is different inside of a job is in :mod:`runner.run_loggers`.
"""
