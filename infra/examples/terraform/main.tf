# Keygate, and an HTTP API that its authorizer protects, deployed with Terraform. docs/infrastructure.md says how to use it.
#
# The state holds no secret: Keygate makes its own keys, and the first administrator key comes from `keygate bootstrap`.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.4"
    }
  }
}

provider "aws" {
  region = var.region
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  manifest = jsondecode(file("${var.package_folder}/manifest.json"))
  prefix   = local.manifest.prefix
}

# --- Keygate ---------------------------------------------------------------------------------------------------------

resource "aws_s3_bucket" "packages" {
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "packages" {
  bucket                  = aws_s3_bucket.packages.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# A name has the digest of its content, so functions that did not change are not uploaded again.
resource "aws_s3_object" "functions" {
  for_each = toset(values(local.manifest.functions))

  bucket = aws_s3_bucket.packages.id
  key    = "${local.prefix}${each.value}"
  source = "${var.package_folder}/${each.value}"
}

# The digest is in the name, so that a changed template is another address, which CloudFormation reads again.
resource "aws_s3_object" "template" {
  bucket = aws_s3_bucket.packages.id
  key    = "${local.prefix}template-${filesha256("${var.package_folder}/template.yaml")}.yaml"
  source = "${var.package_folder}/template.yaml"
}

resource "aws_cloudformation_stack" "keygate" {
  name         = var.stack_name
  template_url = "https://${aws_s3_bucket.packages.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

  parameters = merge(var.parameters, {
    CodeBucket = aws_s3_bucket.packages.id
    CodePrefix = local.prefix
    # Another value with every change, or a changed parameter does not reach the authorizer.
    ConfigurationRevision = sha256(jsonencode([var.parameters, aws_s3_object.template.key]))
  })

  depends_on = [aws_s3_object.functions]
}

# --- The API ---------------------------------------------------------------------------------------------------------

locals {
  authorizer_arn = aws_cloudformation_stack.keygate.outputs["AuthorizerFunctionArn"]
  invocations    = "arn:${data.aws_partition.current.partition}:apigateway:${var.region}:lambda:path/2015-03-31/functions"
}

resource "aws_apigatewayv2_api" "orders" {
  name          = "orders"
  protocol_type = "HTTP"
}

resource "aws_apigatewayv2_authorizer" "keygate" {
  api_id                            = aws_apigatewayv2_api.orders.id
  name                              = "keygate"
  authorizer_type                   = "REQUEST"
  authorizer_uri                    = "${local.invocations}/${local.authorizer_arn}/invocations"
  authorizer_payload_format_version = "2.0"
  enable_simple_responses           = false
  identity_sources                  = ["$request.header.Authorization"]
  authorizer_result_ttl_in_seconds  = 0
}

resource "aws_lambda_permission" "authorizer" {
  action         = "lambda:InvokeFunction"
  function_name  = local.authorizer_arn
  principal      = "apigateway.amazonaws.com"
  source_account = data.aws_caller_identity.current.account_id
  source_arn     = "${aws_apigatewayv2_api.orders.execution_arn}/authorizers/${aws_apigatewayv2_authorizer.keygate.id}"
}

resource "aws_apigatewayv2_integration" "orders" {
  api_id                 = aws_apigatewayv2_api.orders.id
  integration_type       = "AWS_PROXY"
  integration_uri        = aws_lambda_function.orders.arn
  payload_format_version = "2.0"
}

resource "aws_apigatewayv2_route" "orders" {
  api_id             = aws_apigatewayv2_api.orders.id
  route_key          = "GET /orders"
  authorization_type = "CUSTOM"
  authorizer_id      = aws_apigatewayv2_authorizer.keygate.id
  target             = "integrations/${aws_apigatewayv2_integration.orders.id}"
}

resource "aws_apigatewayv2_stage" "orders" {
  api_id      = aws_apigatewayv2_api.orders.id
  name        = "$default"
  auto_deploy = true
}

# --- The backend -----------------------------------------------------------------------------------------------------

data "archive_file" "orders" {
  type        = "zip"
  source_file = "${path.module}/orders.py"
  output_path = "${path.module}/orders.zip"
}

resource "aws_iam_role" "orders" {
  name_prefix = "orders-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "orders" {
  role       = aws_iam_role.orders.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

resource "aws_lambda_function" "orders" {
  function_name    = "orders"
  role             = aws_iam_role.orders.arn
  runtime          = "python3.13"
  handler          = "orders.handler"
  filename         = data.archive_file.orders.output_path
  source_code_hash = data.archive_file.orders.output_base64sha256
}

resource "aws_lambda_permission" "orders" {
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.orders.function_name
  principal      = "apigateway.amazonaws.com"
  source_account = data.aws_caller_identity.current.account_id
  source_arn     = "${aws_apigatewayv2_api.orders.execution_arn}/*/GET/orders"
}
