output "orders_url" {
  description = "The address of the protected route."
  value       = "${aws_apigatewayv2_api.orders.api_endpoint}/orders"
}

output "api_url" {
  description = "The URL of the management API."
  value       = aws_cloudformation_stack.keygate.outputs["ApiUrl"]
}
